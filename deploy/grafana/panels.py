"""The kinds of panels of the dashboards: one function for each kind."""

from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source chosen at the top of each dashboard."""

Panel = Builder[model.Panel]
_Kind = TypeVar("_Kind", timeseries.Panel, stat.Panel, statetimeline.Panel, heatmap.Panel, table.Panel)


@dataclass(frozen=True)
class Query:
    """One PromQL expression and the legend of its series."""

    expr: str
    legend: str = "{{camera}}"


def _target(
    number: int, query: Query, form: PromQueryFormat = PromQueryFormat.TIME_SERIES, *, now: bool = False
) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .format(form)
    )
    return target.instant() if now else target.range()


def _steps(*steps: tuple[float | None, str]) -> build.ThresholdsConfig:
    """Return colours, each from a value upwards; the first has no lower bound."""
    return (
        build.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )


def _begun(panel: _Kind, number: int, title: str, about: str) -> _Kind:
    """Set what every kind of panel has: number, title, description and data source."""
    return panel.id(number).title(title).description(about).datasource(SOURCE)


def lines(
    number: int,
    title: str,
    unit: str,
    *queries: Query,
    about: str,
    width: int = 12,
    stacked: bool = False,
    top: float | None = None,
) -> Panel:
    """Draw values over time, from zero."""
    panel = (
        _begun(timeseries.Panel(), number, title, about)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .line_width(1)
        .fill_opacity(40 if stacked else 8)
        .show_points(kinds.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(kinds.LegendDisplayMode.LIST)
            .placement(kinds.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI))
        .targets([_target(index, query) for index, query in enumerate(queries)])
    )
    if top is not None:
        panel.max(top)
    if stacked:
        panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    return panel


def number(
    identity: int,
    title: str,
    unit: str,
    *queries: Query,
    about: str,
    steps: tuple[tuple[float | None, str], ...] = ((None, "text"),),
    width: int = 6,
) -> Panel:
    """Show the latest value, large and coloured."""
    return (
        _begun(stat.Panel(), identity, title, about)
        .unit(unit)
        .span(width)
        .height(4)
        .thresholds(_steps(*steps))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .targets([_target(index, query) for index, query in enumerate(queries)])
    )


def states(
    number: int,
    title: str,
    query: Query,
    words: dict[int, tuple[str, str]],
    *,
    about: str,
    width: int = 24,
) -> Panel:
    """Draw states over time; `words` maps each value to a text and a colour."""
    mapping = model.ValueMap(
        options={
            str(value): model.ValueMappingResult(text=word, color=color, index=index)
            for index, (value, (word, color)) in enumerate(words.items())
        }
    )
    return (
        _begun(statetimeline.Panel(), number, title, about)
        .span(width)
        .height(6)
        .mappings([mapping])
        .targets([_target(0, query)])
    )


def density(number: int, title: str, unit: str, query: Query, *, about: str, width: int = 12) -> Panel:
    """Draw a histogram over time: the darker, the more frames."""
    return (
        _begun(heatmap.Panel(), number, title, about)
        .span(width)
        .height(9)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .steps(64)
            .fill("dark-orange")
            .exponent(0.5)
        )
        .targets([_target(0, query, PromQueryFormat.HEATMAP)])
    )


def facts(number: int, title: str, *queries: Query, about: str, width: int = 12) -> Panel:
    """Show the labels of info metrics as a table."""
    hidden = {"Time": True, "Value": True, "__name__": True, "job": True}
    return (
        _begun(table.Panel(), number, title, about)
        .span(width)
        .height(6)
        .transformations(
            [
                model.DataTransformerConfig(id_val="merge", options={}),
                model.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden}),
            ]
        )
        .targets(
            [_target(index, query, PromQueryFormat.TABLE, now=True) for index, query in enumerate(queries)]
        )
    )
