"""Draw the explanation of an image: one method, or a comparison sheet of all methods."""

from dataclasses import dataclass
from typing import TypedDict, Unpack

from monitor.explain.explainer import CAMS, DEFAULT_METHOD, REFINEMENTS, CamResult, Explainer
from monitor.explain.grid import comparison_sheet
from monitor.explain.heatmap import overlay_heatmap, sobel_edges, upsample
from monitor.explain.methods import GradientOf, MapRanking
from monitor.explain.score_cam import Scoring
from monitor.explain.targets import ExplainableModel
from monitor.records import Box, Heatmap, Image


class CamOptions(TypedDict):
    """The options of `Explainer.explain` that some methods take."""

    max_n: int | None
    scoring: Scoring
    choice: MapRanking
    gradient_of: GradientOf


@dataclass(frozen=True, slots=True, eq=False)
class RenderedExplanation:
    """A drawn explanation: `class_name` is the explained class, `summary` a line of class, score and note."""

    picture: Image
    class_name: str
    summary: str


def render_method(
    explainer: Explainer,
    subject: ExplainableModel,
    image: Image,
    target: int | None = None,
    method: str = DEFAULT_METHOD,
    *,
    emphasized: bool = False,
    **options: Unpack[CamOptions],
) -> RenderedExplanation:
    """Draw the heat of one method over each explained part of `image` (h, w, 3)."""
    picture = image.copy()
    for box in subject.parts(image):
        part = box.of(image)
        explained = explainer.explain(subject.preprocess(part), target, method, **options)
        heat = _resized(subject, explained, part)
        box.of(picture)[:] = overlay_heatmap(part, heat, emphasized=emphasized)
    class_name = subject.class_name(int(explained.target[0]))
    return RenderedExplanation(picture, class_name, _verdict(class_name, explained, box, image))


def render_comparison(
    explainer: Explainer,
    subject: ExplainableModel,
    image: Image,
    name: str,
    target: int | None = None,
    **options: Unpack[CamOptions],
) -> RenderedExplanation:
    """Draw the comparison of all methods on the deciding part of `image` (h, w, 3), called `name`."""
    box = subject.parts(image)[-1]
    part = box.of(image)
    x = subject.preprocess(part)
    found = {"guided-backprop": explainer.explain(x, target, "guided-backprop")}
    for cam in CAMS:
        found[cam] = explainer.explain(x, target, cam, **options)
        for product in REFINEMENTS:
            found[f"{product}-{cam}"] = explainer.refine(found[cam], product, x)
    one = found[DEFAULT_METHOD]
    class_name = subject.class_name(int(one.target[0]))
    facts = [
        name,
        *filter(None, [_tile(box, image)]),
        f"{class_name} {one.score[0]:.3f}",
        f"layer {one.layer}",
        f"faster-score-cam: {explainer.map_count(options['max_n'])} of {explainer.network.channels} maps",
        f"chosen by {options['choice']}, scoring {options['scoring']}",
    ]
    sheet = comparison_sheet(
        part,
        {method: _resized(subject, explained, part) for method, explained in found.items()},
        sobel_edges(x[0]),
        facts,
        {method: explained.notes[0] for method, explained in found.items() if explained.notes[0]},
    )
    return RenderedExplanation(sheet, class_name, _verdict(class_name, one, box, image))


def _resized(subject: ExplainableModel, explained: CamResult, image: Image) -> Heatmap:
    """Resize heat to the size of `image`; heat of the input's size (guided, edges) is stretched to it."""
    resize = subject.upsample if explained.method in CAMS else upsample
    return resize(explained.heat[0], *image.shape[:2])


def _verdict(class_name: str, explained: CamResult, box: Box, image: Image) -> str:
    note, place = explained.notes[0], _tile(box, image)
    return (
        f"{class_name} {explained.score[0]:.3f}"
        + (f" in {place}" if place else "")
        + (f", no heat: {note}" if note else "")
    )


def _tile(box: Box, image: Image) -> str:
    """Name the part `box` of `image`, in pixels; empty for the whole image."""
    is_whole = (box.height, box.width) == image.shape[:2]
    return "" if is_whole else f"tile {box.left},{box.top},{box.width},{box.height}"
