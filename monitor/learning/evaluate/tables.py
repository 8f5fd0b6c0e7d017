"""An evaluation as tables, for the terminal and for the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.learning.evaluate.evaluator import Evaluation, ImageResult, NoveltyReport, TestCondition
from monitor.learning.evaluate.localisation import LocalisationMetrics
from monitor.learning.evaluate.metrics import ClassificationMetrics, Estimate


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below a header; `note` explains how to read them."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(evaluation: Evaluation) -> list[Table]:
    """Return every table for which the evaluation has figures."""
    recorded = evaluation.as_recorded
    found = [_classification(recorded.classification)]
    if any(one.kind is not None for one in evaluation.results):
        found.append(_kinds(evaluation.results))
    if recorded.localisation is not None:
        found.append(_localisation(recorded.localisation))
    if evaluation.degraded:
        found.append(_robustness((recorded, *evaluation.degraded)))
    if recorded.familiarity is not None:
        found.append(_familiarity(recorded.familiarity, evaluation.others))
    return found


def markdown(table: Table) -> str:
    """Format the table as Markdown, with its title as a heading."""
    lines = [
        f"### {table.title}",
        "",
        _line(table.header),
        _line(["---"] + ["---:"] * (len(table.header) - 1)),
    ]
    lines += [_line(row) for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else []), ""])


def format_number(value: float, digits: int = 3) -> str:
    """Format a figure: a dash where it has no meaning; 1 and 0 only where exact."""
    if math.isnan(value):
        return "–"
    if value in (0.0, 1.0):
        return f"{value:.0f}"
    # Rounding must not turn almost all into all, nor almost none into none.
    limit = 10.0**-digits
    if 1 - limit < value < 1:
        return f"> {1 - limit:.{digits}f}"
    if 0 < value < limit:
        return f"< {limit:.{digits}f}"
    return f"{value:.{digits}f}"


def interval(estimate: Estimate, digits: int = 3) -> str:
    """Format the 95 % interval."""
    if math.isnan(estimate.value):
        return "–"
    return f"{format_number(estimate.low, digits)} to {format_number(estimate.high, digits)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _classification(figures: ClassificationMetrics) -> Table:
    low, high = figures.recall_bounds
    alarm_low, alarm_high = figures.false_alarm_bounds
    recall_name = f"recall at the threshold, {figures.defects - figures.misses} of {figures.defects}"
    alarm_name = f"false alarms at the threshold, {figures.false_alarms} of {figures.good}"
    named = (
        ("AUC", figures.auc, ""),
        ("average precision", figures.average_precision, ""),
        (recall_name, figures.recall, f"{format_number(low)} to {format_number(high)}"),
        (alarm_name, figures.false_alarm_rate, f"{format_number(alarm_low)} to {format_number(alarm_high)}"),
        ("recall without a false alarm", figures.recall_without_false_alarm, ""),
        ("margin between worst defect and worst good part", figures.margin, ""),
        ("expected calibration error", figures.calibration_error, ""),
    )
    rows = [(name, format_number(one.value), interval(one), wilson) for name, one, wilson in named]
    rows += [
        ("lowest score of a defect", format_number(figures.lowest_defect), "", ""),
        ("highest score of a good part", format_number(figures.highest_good), "", ""),
        ("threshold", format_number(figures.threshold), "", ""),
    ]
    return Table(
        "Classification",
        ("measure", "value", "95 % bootstrap", "95 % Wilson"),
        tuple(rows),
        "The bootstrap only repeats images that exist: without a mistake, read Wilson's bounds.",
    )


def _kinds(results: Sequence[ImageResult]) -> Table:
    """The confusion matrix: a row for each folder, a column for what an event would name."""
    named = sorted({one.kind for one in results if one.kind is not None})
    folders = sorted({(one.sample.defective, one.sample.category) for one in results})
    rows = []
    for _, folder in folders:
        own = [one.kind for one in results if one.sample.category == folder]
        rows.append((folder, *(str(own.count(kind)) for kind in (None, *named))))
    defects = [one for one in results if one.sample.defective and one.kind is not None]
    right = sum(one.kind == one.sample.category for one in defects)
    return Table(
        "Kinds of defects",
        ("folder", "not flagged", *named),
        tuple(rows),
        f"{right} of {len(defects)} flagged defects are named after their folder.",
    )


def _localisation(figures: LocalisationMetrics) -> Table:
    named = (
        ("pointing game: peak inside the mask", figures.pointing, 3),
        ("IoU of the strongest box with the mask's, median", figures.median_overlap, 3),
        ("found at IoU 0.3", figures.found_at_03, 3),
        ("found at IoU 0.5", figures.found_at_05, 3),
        ("fraction of heat inside the mask, mean", figures.heat_inside, 3),
        ("distance of the boxes' centres, median, pixels", figures.centre_distance, 1),
    )
    rows = [(name, format_number(one.value, digits), interval(one, digits)) for name, one, digits in named]
    rows.append(("regions beyond the strongest, all images", str(figures.extra_regions), ""))
    return Table(
        "Localisation",
        ("measure", "value", "95 % bootstrap"),
        tuple(rows),
        f"{figures.defects} defects with a mask, {figures.defects - figures.with_region} of them without "
        "a region; those count as not found.",
    )


def _robustness(conditions: Sequence[TestCondition]) -> Table:
    header: tuple[str, ...] = (
        "images",
        "AUC",
        "misses",
        "false alarms",
        "lowest defect",
        "highest good",
    )
    rows = []
    for one in conditions:
        figures, place = one.classification, one.localisation
        row = [
            one.name,
            format_number(figures.auc.value),
            str(figures.misses),
            str(figures.false_alarms),
            format_number(figures.lowest_defect),
            format_number(figures.highest_good),
        ]
        if one.familiarity is not None:
            row.append(str(one.familiarity.unfamiliar))
        if place is not None:
            row += [
                format_number(place.pointing.value),
                format_number(place.median_overlap.value),
                format_number(place.found_at_03.value),
                format_number(place.found_at_05.value),
            ]
        rows.append(tuple(row))
    # Every condition has the same images and the same model.
    if conditions[0].familiarity is not None:
        header += ("marked unfamiliar",)
    if conditions[0].localisation is not None:
        header += ("pointing game", "median IoU", "found at 0.3", "found at 0.5")
    return Table("Robustness", header, tuple(rows), "A missed defect counts as not found.")


def _familiarity(own: NoveltyReport, others: NoveltyReport | None) -> Table:
    def row(name: str, one: NoveltyReport) -> tuple[str, ...]:
        return (
            name,
            str(one.pictures),
            f"{one.unfamiliar} ({one.unfamiliar / one.pictures:.1%})",
            str(one.flagged),
        )

    rows = [(*row("these images", own), "")]
    if others is not None:
        rows.append((*row("other surfaces", others), str(others.sure_and_unmarked)))
    return Table(
        "Familiarity",
        ("surface", "images", "marked unfamiliar", "flagged", "confident and not marked"),
        tuple(rows),
        "Confident: a score within 0.1 of 0 or 1. On a surface that the model does not know, no image "
        "should be confident and not marked.",
    )
