"""An evaluation as one HTML file: figures, charts, the worst results, heat beside masks."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from monitor.imaging.jpeg import encode_jpeg
from monitor.learning.evaluate.charts import cost_over_threshold, histogram, page, reliability, roc_curve
from monitor.learning.evaluate.costs import Costs, cost_curve
from monitor.learning.evaluate.evaluator import Evaluation, ExplainedImage, ImageResult
from monitor.learning.evaluate.metrics import Flags, Scores
from monitor.learning.evaluate.tables import Table, format_number, tables
from monitor.records import Image

SIDE = 288
"""The longer side of an image in the report, in pixels."""


_MASK = (60, 220, 255)


_BOX = (80, 110, 255)


@dataclass(frozen=True, slots=True)
class ReportHeader:
    """What was evaluated: model, data, the command that repeats it, and the date, one line each."""

    model: str
    data: str
    command: str
    when: str


def report(
    evaluation: Evaluation,
    about: ReportHeader,
    explain: Callable[[ImageResult], ExplainedImage],
    *,
    worst: int = 6,
    places: int = 24,
    extra: Sequence[Table] = (),
    costs: Costs | None = None,
) -> str:
    """Write the report as HTML.

    `explain` reads and explains one image again; it is called for the `worst` defects and good parts each,
    and for the `places` defects with the worst boxes. `extra` tables follow those of the evaluation;
    `costs` adds the curve of expected cost.
    """
    results = evaluation.results
    scores = np.array([one.score for one in results], float)
    defective = np.array([one.sample.defective for one in results], bool)
    threshold = evaluation.as_recorded.classification.threshold
    defects = sorted((one for one in results if one.sample.defective), key=lambda one: one.score)
    good = sorted((one for one in results if not one.sample.defective), key=lambda one: -one.score)
    located = sorted(
        (
            (one.localisation.overlap, index, one)
            for index, one in enumerate(results)
            if one.localisation is not None
        )
    )

    def figure(one: ImageResult, *, wrong: bool) -> str:
        return _figure(one, explain(one), wrong=wrong, flagged=one.score >= threshold)

    parts = [
        f"<h1>{escape(about.model)}</h1>",
        f'<p class="dim">{escape(about.data)} · {escape(about.when)}</p>',
        f'<p class="dim"><code>{escape(about.command)}</code></p>',
        _tiles(evaluation),
        "<h2>Scores</h2>",
        '<p class="note"><span class="key defect"></span> defects, upwards '
        '<span class="key good"></span> good parts, downwards; counts on a log scale.</p>',
        '<div class="charts">',
        f"<figure>{histogram(scores, defective, threshold)}<figcaption>Scores</figcaption></figure>",
        f"<figure>{roc_curve(scores, defective)}<figcaption>ROC</figcaption></figure>",
        f"<figure>{reliability(scores, defective)}<figcaption>Calibration: on the dashed line a score is a "
        "probability; the size of a dot is its number of images</figcaption></figure>",
        *([] if costs is None else [_cost_figure(scores, defective, threshold, costs)]),
        "</div>",
        *(table_html(one) for one in (*tables(evaluation), *extra)),
        *gallery(
            "Defects that scored lowest",
            (figure(one, wrong=one.score < threshold) for one in defects[:worst]),
        ),
        *gallery(
            "Good parts that scored highest",
            (figure(one, wrong=one.score >= threshold) for one in good[:worst]),
        ),
        *gallery(
            "Heat beside masks, the worst box first",
            (figure(one, wrong=overlap < 0.3) for overlap, _, one in located[:places]),
        ),
        '<p class="note">Left: the image, the outline of its mask in yellow. Right: the evidence for a '
        "defect, scaled to the image's own peak, and, where the image is flagged, its boxes. "
        "An orange frame is a miss, a false alarm, or a box with IoU below 0.3.</p>",
    ]
    return page(f"{about.model}: {about.data}", "\n".join(parts))


def _cost_figure(scores: Scores, defective: Flags, threshold: float, costs: Costs) -> str:
    thresholds, expected = cost_curve(scores, defective, costs)
    if not np.isfinite(expected).all():
        return ""
    best = thresholds[int(expected.argmin())]
    caption = (
        f"Expected cost of a frame: a miss costs {costs.miss:g}, a false alarm {costs.alarm:g}, "
        f"{costs.prevalence:.2%} of frames are defective; lowest from a threshold of {best:.3f}"
    )
    chart = cost_over_threshold(thresholds, expected, threshold)
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _tiles(evaluation: Evaluation) -> str:
    figures, place = evaluation.as_recorded.classification, evaluation.as_recorded.localisation
    shown = [
        (format_number(figures.auc.value), "AUC", False),
        (f"{figures.misses} of {figures.defects}", "defects missed", figures.misses > 0),
        (f"{figures.false_alarms} of {figures.good}", "false alarms", figures.false_alarms > 0),
        (format_number(figures.margin.value), "margin, worst to worst", figures.margin.value <= 0),
    ]
    if place is not None:
        shown += [
            (format_number(place.pointing.value), "pointing game", False),
            (format_number(place.median_overlap.value), "median IoU of boxes", False),
        ]
    for counted, name in (
        (evaluation.as_recorded.familiarity, "marked unfamiliar"),
        (evaluation.others, "of other surfaces marked"),
    ):
        if counted is not None:
            shown.append((f"{counted.unfamiliar} of {counted.pictures}", name, False))
    tiles = (
        f'<div class="tile{" bad" if bad else ""}"><b>{value}</b><span>{name}</span></div>'
        for value, name, bad in shown
    )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def table_html(table: Table) -> str:
    """Write a table, with its title as a heading."""
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def gallery(title: str, figures: Iterable[str]) -> list[str]:
    """Write `figures`, which are HTML, below a heading; nothing where there are none."""
    shown = list(figures)
    return [f"<h2>{title}</h2>", f'<div class="images">{"".join(shown)}</div>'] if shown else []


def _figure(one: ImageResult, seen: ExplainedImage, *, wrong: bool, flagged: bool) -> str:
    path = one.sample.path
    facts = [f"score {format_number(one.score)}"]
    if one.localisation is not None and not one.localisation.regions:
        facts.append("not located")
    elif one.localisation is not None:
        facts += [
            f"IoU {format_number(one.localisation.overlap, 2)}",
            f"peak {'inside' if one.localisation.pointed else 'outside'} the mask",
            f"{one.localisation.heat_inside:.0%} of the heat inside",
        ]
    if not seen.heat.any():
        facts.append("no heat to show")
    label = escape(f"{one.sample.surface}, {one.sample.category}")
    caption = f"<b>{escape(path.name)}</b> {label}: {', '.join(facts)}"
    images = "".join(
        f'<img src="{data_uri(image)}" alt="{escape(f"{path.name}, {what}", quote=True)}">'
        for image, what in (
            (with_mask(shrunk(seen.image), seen), "with its mask"),
            (with_heat(seen, boxes=flagged), "with heat"),
        )
    )
    kind = ' class="wrong"' if wrong else ""
    return f'<figure{kind}><div class="pair">{images}</div><figcaption>{caption}</figcaption></figure>'


def with_mask(image: Image, seen: ExplainedImage) -> Image:
    """Draw the outline of the mask of `seen` on `image`, which may be smaller."""
    if seen.mask is not None:
        mask = cv2.resize(
            seen.mask.astype(np.uint8), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST
        )
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(image, outlines, -1, _MASK, 1, cv2.LINE_AA)
    return image


def with_heat(seen: ExplainedImage, *, boxes: bool) -> Image:
    """Draw heat, the outline of the mask, and with `boxes` the regions on a small copy of the image."""
    image = shrunk(seen.image)
    height, width = image.shape[:2]
    heat = cv2.resize(seen.heat, (width, height), interpolation=cv2.INTER_AREA)
    colours = cv2.applyColorMap(np.clip(heat * 255, 0, 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    share = np.clip(heat, 0, 1)[..., None] * 0.65
    image = with_mask(np.asarray(image * (1 - share) + colours * share, np.uint8), seen)
    scale = width / seen.image.shape[1]
    for region in seen.regions if boxes else ():
        box = region.box
        corners = [
            (round(x * scale), round(y * scale)) for x, y in ((box.left, box.top), (box.right, box.bottom))
        ]
        cv2.rectangle(image, corners[0], (corners[1][0] - 1, corners[1][1] - 1), _BOX, 2)
    return image


def shrunk(image: Image) -> Image:
    """Return a copy with its longer side at `SIDE` pixels or fewer."""
    scale = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.array(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def data_uri(image: Image) -> str:
    """Return the image as the address of an `img` element."""
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, 80)).decode()}"
