"""A comparison of two models as tables, and as one HTML file with the images whose verdict changes."""

from collections.abc import Callable
from html import escape

from monitor.learning.evaluate.charts import page
from monitor.learning.evaluate.comparison import Comparison, ImageComparison, ModelFigures, PairedCounts
from monitor.learning.evaluate.evaluator import ExplainedImage
from monitor.learning.evaluate.html_report import (
    ReportHeader,
    data_uri,
    gallery,
    shrunk,
    table_html,
    with_heat,
    with_mask,
)
from monitor.learning.evaluate.tables import Table, format_number

SHOWN = 60
"""Images whose verdict changes that the report shows at most."""

ADVICE = {
    "promote": "Promote the new model.",
    "keep": "Keep the old model.",
    "undecided": "Not decided: the labelled images do not suffice.",
}

ExplainBoth = Callable[[ImageComparison], tuple[ExplainedImage, ExplainedImage]]


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return mistakes, boxes, familiarity and speed of both models."""
    rows = [_counts_row(one) for one in (*comparison.counts, *comparison.by_surface)]
    mistakes = Table(
        "Mistakes, each model at its own threshold",
        ("", "images", "old", "95 %", "new", "95 %", "only the old", "only the new", "p"),
        tuple(rows),
        "Bounds are exact (Clopper and Pearson), p is that of the exact McNemar test on the images that one "
        "model alone gets wrong.",
    )
    old, new = comparison.old, comparison.new
    pairs = [
        ("threshold", *(format_number(one.threshold) for one in (old, new))),
        ("AUC", *(format_number(one.auc) for one in (old, new))),
        *_box_rows(old, new),
        (
            "marked unfamiliar",
            *("–" if one.unfamiliar is None else str(one.unfamiliar) for one in (old, new)),
        ),
        ("time of a frame, relative", "1", f"{comparison.speed:.2f}"),
    ]
    note = f"{len(comparison.images)} images"
    if comparison.left_out:
        note += f"; {comparison.left_out} more are left out because a model was made from them"
    return [mistakes, Table("Models", ("", f"old: {old.name}", f"new: {new.name}"), tuple(pairs), note)]


def comparison_report(comparison: Comparison, about: ReportHeader, explain: ExplainBoth) -> str:
    """Write the report as HTML; `explain` explains one image by the old and by the new model."""
    advice = comparison.recommendation
    title = f"{comparison.old.name} or {comparison.new.name}"
    changed = comparison.changed
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{escape(about.data)} · {escape(about.when)}</p>',
        f'<p class="dim"><code>{escape(about.command)}</code></p>',
        f'<p class="dim">old {comparison.old.sha256[:12]}, new {comparison.new.sha256[:12]}</p>',
        f"<h2>{ADVICE[advice.decision]}</h2>",
        f"<ul>{''.join(f'<li>{escape(reason)}</li>' for reason in advice.reasons)}</ul>",
        *(table_html(one) for one in comparison_tables(comparison)),
        *gallery(
            f"Images with another verdict: {len(changed)}",
            (_figure(one, *explain(one)) for one in changed[:SHOWN]),
        ),
        '<p class="note">From left to right: the image with the outline of its label, the evidence of the '
        "old model, and that of the new one, with boxes where it flags the image. An orange "
        "frame: the new model is wrong.</p>",
    ]
    return page(title, "\n".join(parts))


def _counts_row(one: PairedCounts) -> tuple[str, ...]:
    plural = {"miss": "misses", "false alarm": "false alarms"}[one.mistake]
    name = f"{one.surface}: {plural}" if one.surface else plural
    bounds = (
        "–" if not one.images else f"{format_number(low)} to {format_number(high)}"
        for low, high in (one.old_bounds, one.new_bounds)
    )
    old_bounds, new_bounds = bounds
    return (
        name,
        str(one.images),
        str(one.old),
        old_bounds,
        str(one.new),
        new_bounds,
        str(one.gains),
        str(one.losses),
        format_number(one.p_value),
    )


def _box_rows(old: ModelFigures, new: ModelFigures) -> list[tuple[str, str, str]]:
    if old.boxes is None or new.boxes is None:
        return []
    return [
        (
            name,
            format_number(getattr(old.boxes, field).value),
            format_number(getattr(new.boxes, field).value),
        )
        for name, field in (
            ("median IoU of boxes", "median_overlap"),
            ("found at IoU 0.3", "found_at_03"),
            ("pointing game", "pointing"),
        )
    ]


def _figure(one: ImageComparison, before: ExplainedImage, after: ExplainedImage) -> str:
    name = escape(one.sample.path.name, quote=True)
    images = (
        (with_mask(shrunk(before.image), before), "with its label"),
        (with_heat(before, boxes=one.old_flagged), "old model"),
        (with_heat(after, boxes=one.new_flagged), "new model"),
    )
    shown = "".join(f'<img src="{data_uri(image)}" alt="{name}, {what}">' for image, what in images)
    label = escape(f"{one.sample.surface}, {one.sample.category}")
    scores = f"score {format_number(one.old.score)}, now {format_number(one.new.score)}"
    kind = "" if one.new_right else ' class="wrong"'
    return (
        f'<figure{kind}><div class="pair three">{shown}</div>'
        f"<figcaption><b>{name}</b> {label}: {scores}</figcaption></figure>"
    )
