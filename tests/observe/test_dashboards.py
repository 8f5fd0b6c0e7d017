"""The dashboards: current, of known fields, linked with alerts; queries answered by a real Prometheus."""

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana import build
from tests.support.prometheus import ALERTS, filled_in

DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(build.FOLDER.glob("*.json"))}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            yield name, panel


def queries() -> Iterator[Any]:
    for name, panel in panels():
        for target in panel.get("targets", []):
            identity = f"{name} {panel['title']} {target['refId']}"
            yield pytest.param(target["expr"], id=identity)


def test_the_committed_files_are_those_that_the_code_makes():
    made = build.dashboards()
    assert {path.name for path in build.FOLDER.iterdir()} == set(made)
    for name, content in made.items():
        assert (build.FOLDER / name).read_text() == content, "python -m deploy.grafana.build"


def test_every_dashboard_is_of_the_type_that_grafana_publishes(tmp_path):
    """Its type covers dashboard, panels, variables, links, fields; what a kind of panel alone has is open."""
    schema = Path(__file__).parent / "schema"
    compiler = schema / "node_modules" / ".bin" / "tsc"
    if not compiler.exists():
        pytest.skip("Grafana's types are not installed: npm ci, in tests/observe/schema")
    for name in ("plain.ts", "tsconfig.json", "node_modules"):
        (tmp_path / name).symlink_to(schema / name)
    (tmp_path / "generated").mkdir()
    for name, content in DASHBOARDS.items():
        (tmp_path / "generated" / f"{name}.ts").write_text(
            "import type { PlainDashboard } from '../plain';\n"
            f"export const dashboard: PlainDashboard = {json.dumps(content, indent=1)};\n"
        )
    done = subprocess.run(
        [compiler, "--project", tmp_path], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name):
    found = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in found}) == len(found) > 0
    cells = [
        (x, y)
        for panel in found
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_leads_to_a_panel_and_the_panel_to_the_alerts_entry_in_the_runbook(alert):
    annotations = ALERTS[alert]["annotations"]
    name, number = re.search(
        r"/d/defect-monitor-(\w+)\?viewPanel=(\d+)", annotations["dashboard_url"]
    ).groups()
    assert DASHBOARDS[name]["uid"] == f"defect-monitor-{name}"
    panel = next(panel for panel in DASHBOARDS[name]["panels"] if panel["id"] == int(number))
    links = {link["title"]: link["url"] for link in panel["links"]}
    entry = links[f"Runbook: {alert}"]
    assert annotations["runbook_url"] == "{{ $externalLabels.grafana }}" + entry
    number = re.fullmatch(r"/d/defect-monitor-runbook\?viewPanel=(\d+)", entry)[1]
    page = next(panel for panel in DASHBOARDS["runbook"]["panels"] if panel["id"] == int(number))
    assert page["title"] == alert


@pytest.mark.parametrize("query", list(queries()))
def test_every_query_of_every_panel_has_data_from_a_running_demo(prometheus, query):
    found = prometheus.series(filled_in(query), over=5)
    assert found, query
    values = [float(value) for series in found for _, value in series["values"]]
    assert any(math.isfinite(value) for value in values), query


@pytest.mark.parametrize("name", sorted(set(DASHBOARDS) - {"runbook"}))
def test_every_choice_at_the_top_of_a_dashboard_has_values(prometheus, name):
    asked = [it for it in DASHBOARDS[name]["templating"]["list"] if it["type"] == "query"]
    assert [it["name"] for it in asked] == ["instance", "camera"]
    for variable in asked:
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
        assert prometheus.ask(f"label/{label}/values", **{"match[]": filled_in(series)})


def test_every_rule_is_evaluated_without_error(prometheus):
    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == set(ALERTS)
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []


def test_a_healthy_demo_fires_no_alert(prometheus):
    assert prometheus.series('ALERTS{alertstate="firing"}', over=10) == []
