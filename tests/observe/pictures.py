"""Draw the dashboards for the documentation from their own queries: `make pictures`. Grafana draws finer."""

import json
import math
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from deploy.grafana import build
from tests.support import ROOT
from tests.support.prometheus import PrometheusServer, filled_in, watched_demo

DRAWN = ("line", "latency")
_FOLDER = ROOT / ".github" / "pictures"
_ROW = 0.42  # inches of one row of Grafana's grid
_COLORS = {"green": "#56A64B", "red": "#E02F44", "yellow": "#E0B400", "text": "#CCCCDC"}
_COLORS |= {"light-blue": "#8AB8FF", "blue": "#5794F2", "orange": "#FF9830", "purple": "#B877D9"}

Found = list[tuple[str, list[dict[str, Any]]]]
"""For each query of a panel, how its series are called and the series."""


def _of_unit(unit: str) -> Callable[[float, object], str]:
    def text(value: float, _: object = None) -> str:
        if not math.isfinite(value):
            return "–"
        if unit == "percentunit":
            return f"{100 * value:.3g} %"
        if unit == "s":
            return f"{1000 * value:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
        return f"{value:.3g}"

    return text


def _name(legend: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return re.sub(r"\{\{\w+\}\}", "", legend).strip()


def _values(series: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    times, values = zip(*series["values"], strict=True)
    return np.asarray(times, float), np.asarray(values, float)


def _number(axes: Axes, panel: dict[str, Any], found: Found) -> None:
    text = _of_unit(panel["fieldConfig"]["defaults"].get("unit", ""))
    latest = [_values(series)[1][-1] for _, all_series in found for series in all_series]
    color = "text"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or latest[0] >= step["value"]:
            color = step["color"]
    axes.axis("off")
    names = [legend for legend, _ in found]
    words = "  ".join(f"{text(value)} {name}" for value, name in zip(latest, names, strict=False))
    place = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.4, words, size=15, color=_COLORS[color], **place)


def _lines(axes: Axes, panel: dict[str, Any], found: Found) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    named = [(_name(legend, it["metric"]), *_values(it)) for legend, all_series in found for it in all_series]
    if defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal":
        times = np.unique(np.concatenate([times for _, times, _ in named]))
        heights = [np.interp(times, own, np.nan_to_num(values)) for _, own, values in named]
        axes.stackplot(times, heights, labels=[name for name, _, _ in named], alpha=0.6)
    else:
        for name, times, values in named:
            axes.plot(times, values, label=name, linewidth=1.2)
    axes.set_ylim(bottom=0, top=1.02 if defaults.get("max") == 1 else None)
    axes.yaxis.set_major_formatter(FuncFormatter(_of_unit(defaults.get("unit", ""))))
    shown = [(line, name) for line, name in zip(*axes.get_legend_handles_labels(), strict=True)][:14]
    below = {"loc": "upper left", "bbox_to_anchor": (-0.02, -0.1), "frameon": False}
    axes.legend(*zip(*shown, strict=True), ncols=7, fontsize=6, handlelength=1, columnspacing=1, **below)


def _states(axes: Axes, panel: dict[str, Any], found: Found) -> None:
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    legend, all_series = found[0]
    for row, series in enumerate(all_series):
        times, values = _values(series)
        for start, end, value in zip(times, [*times[1:], times[-1] + 1], values, strict=True):
            axes.broken_barh(
                [(start, end - start)], (row - 0.4, 0.8), color=_COLORS[options[f"{value:g}"]["color"]]
            )
        axes.text(times[0], row, f" {options[f'{values[-1]:g}']['text']}", va="center", color="white")
    axes.set_yticks(range(len(all_series)), [_name(legend, series["metric"]) for series in all_series])


def _density(axes: Axes, panel: dict[str, Any], found: Found) -> None:
    """Counts by bucket: differences of the cumulative ones."""
    by_border = sorted((float(series["metric"]["le"]), *_values(series)) for series in found[0][1])
    times = max((times for _, times, _ in by_border), key=len)
    below = np.array([np.interp(times, own, values) for _, own, values in by_border])
    counts = np.diff(below, axis=0, prepend=0).clip(min=0)
    masked = np.ma.masked_less_equal(counts, 0)
    axes.pcolormesh(np.append(times, times[-1] + 1), np.arange(len(by_border) + 1), masked, cmap="Oranges")
    text = _of_unit(panel["options"]["yAxis"]["unit"])
    every = range(0, len(by_border) - 1, 3)
    axes.set_yticks([place + 1 for place in every], [text(by_border[place][0], None) for place in every])


_KINDS = {"stat": _number, "timeseries": _lines, "state-timeline": _states, "heatmap": _density}


def draw(dashboard: dict[str, Any], server: PrometheusServer, seconds: float) -> plt.Figure:
    """One picture of a whole dashboard, laid out as its grid says."""
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    rows = max(place["y"] + place["h"] for place in places)
    figure = plt.figure(figsize=(13, rows * _ROW))
    for panel, place in zip(dashboard["panels"], places, strict=True):
        axes = figure.add_axes(
            (
                (place["x"] + 1.3) / 24.4,
                1 - (place["y"] + place["h"] - 1.6) / rows,
                (place["w"] - 1.7) / 24.4,
                (place["h"] - 2.6) / rows,
            )
        )
        axes.set_title(filled_in(panel["title"]), loc="left", size=9)
        found = [
            (target["legendFormat"], server.series(filled_in(target["expr"]), over=seconds))
            for target in panel["targets"]
        ]
        _KINDS[panel["type"]](axes, panel, found)
        began = (server.until or 0) - seconds
        axes.set_xlim(began, began + seconds)
        ticks = np.linspace(0, seconds, 7)
        axes.set_xticks(began + ticks, [f"{tick:.0f} s" for tick in ticks])
    return figure


def _style() -> None:
    mpl.use("agg")
    plt.style.use("dark_background")
    plt.rcParams["axes.prop_cycle"] = mpl.cycler(color=mpl.colormaps["tab20"].colors)
    plt.rcParams |= {"font.size": 7, "axes.spines.top": False, "axes.spines.right": False}
    plt.rcParams |= {
        "axes.grid": True,
        "grid.alpha": 0.15,
        "figure.facecolor": "#181B1F",
        "axes.facecolor": "#181B1F",
    }


def main(warm: float, seconds: float) -> None:
    """Watch a demo until it has run for `warm` seconds and then for `seconds`, and draw the latter."""
    _style()
    with tempfile.TemporaryDirectory() as folder, watched_demo(Path(folder), warm + seconds) as server:
        for name in DRAWN:
            dashboard = json.loads((build.FOLDER / f"{name}.json").read_text())
            figure = draw(dashboard, server, seconds)
            figure.savefig(_FOLDER / f"dashboard-{name}.png", dpi=90)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
