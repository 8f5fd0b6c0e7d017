"""Generate the JSON of the dashboards: `python -m deploy.grafana.build`. A test finds it out of date."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.text import TextMode

from deploy.grafana import inside, line
from deploy.grafana.panels import SOURCE, Panel

FOLDER = Path(__file__).parent / "dashboards"
_PROMETHEUS = Path(__file__).parent.parent / "prometheus"
_TAG = "defect-monitor"
_STAGES = ("classify", "queue", "capture", "wait", "explain", "locate", "annotate", "publish")
_DASHBOARDS: dict[str, tuple[str, Callable[[], list[Panel]]]] = {
    "line": ("Line", line.line),
    "latency": ("Latency by stage", line.latency),
    "delivery": ("Delivery", inside.delivery),
    "model": ("Model", inside.network),
    "process": ("Process and machine", inside.process),
}


def dashboards() -> dict[str, str]:
    """Return the content of each file by its name."""
    links = _runbook_links()
    files = {
        f"{name}.json": _text(_dashboard(name, title, panels(), links))
        for name, (title, panels) in _DASHBOARDS.items()
    }
    return files | {"runbook.json": _text(_runbook())}


def _text(dashboard: build.Dashboard) -> str:
    built = dashboard.build()
    for variable in (built.templating and built.templating.list_val) or []:
        # The library writes these fields for every variable; Grafana's schema has them for intervals only.
        variable.auto = variable.auto_min = variable.auto_count = None
    return json.dumps(built, cls=JSONEncoder, indent=1, ensure_ascii=False) + "\n"


def _alerts() -> list[dict[str, object]]:
    groups = yaml.safe_load((_PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _runbook_links() -> dict[tuple[str, int], list[build.DashboardLink]]:
    """Return each panel's links to runbook entries, by dashboard and panel number."""
    found: dict[tuple[str, int], list[build.DashboardLink]] = {}
    for entry, alert in enumerate(_alerts(), start=1):
        place = re.search(rf"/d/{_TAG}-(\w+)\?viewPanel=(\d+)", str(alert["annotations"]))
        assert place is not None, f"{alert['alert']} links to no panel"
        link = (
            build.DashboardLink(f"Runbook: {alert['alert']}")
            .type(model.DashboardLinkType.LINK)
            .url(f"/d/{_TAG}-runbook?viewPanel={entry}")
        )
        found.setdefault((place[1], int(place[2])), []).append(link)
    return found


def _dashboard(
    name: str,
    title: str,
    panels: list[Panel],
    links: dict[tuple[str, int], list[build.DashboardLink]],
) -> build.Dashboard:
    made = _empty(name, title).with_variable(
        build.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    )
    made.with_variable(_names("instance", "Daemon", "defect_monitor_redis_up"))
    made.with_variable(_names("camera", "Camera", 'defect_monitor_camera_up{instance=~"$instance"}'))
    if name == "latency":
        first = model.VariableOption(text=_STAGES[0], value=_STAGES[0], selected=True)
        made.with_variable(
            build.CustomVariable("stage").label("Stage").values(",".join(_STAGES)).current(first)
        )
    for panel in panels:
        identity = panel.build().id_val
        assert identity is not None
        if on := links.get((name, identity)):
            panel.links(on)  # type: ignore[attr-defined]  # every panel builder has it, their base class does not
        made.with_panel(panel)
    return made


def _empty(name: str, title: str) -> build.Dashboard:
    others = (
        build.DashboardLink("defect-monitor")
        .type(model.DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .keep_time(True)
        .include_vars(True)
    )
    return (
        build.Dashboard(f"Defect monitor: {title}")
        .uid(f"{_TAG}-{name}")
        .tags([_TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(others)
    )


def _names(name: str, label: str, series: str) -> build.QueryVariable:
    """Return a variable whose choices are the values of the label `name` in `series`."""
    everything = model.VariableOption(text="All", value="$__all", selected=True)
    return (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(everything)
    )


def _runbook() -> build.Dashboard:
    """Return the runbook as a dashboard: one panel for each entry, so that alerts can link to it."""
    made = _empty("runbook", "Runbook")
    introduction, *entries = re.split(r"^## ", (_PROMETHEUS / "runbook.md").read_text(), flags=re.MULTILINE)
    made.with_panel(_page(len(entries) + 1, "Runbook", introduction.split("\n", 1)[1], height=4, width=24))
    for number, entry in enumerate(entries, start=1):
        title, body = entry.split("\n", 1)
        made.with_panel(_page(number, title, body, height=10, width=12))
    return made


def _page(number: int, title: str, body: str, *, height: int, width: int) -> Panel:
    page = text.Panel().id(number).title(title).height(height).span(width)
    return page.mode(TextMode.MARKDOWN).content(body.strip() + "\n")


def main() -> None:
    """Write every file and remove files that are no longer generated."""
    files = dashboards()
    for old in FOLDER.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    main()
