"""The explanation methods that are compared, what is measured of each, and the table of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.explain.methods import GradientOf, MapRanking
from monitor.explain.score_cam import Scoring
from monitor.learning.evaluate.tables import Table, format_number


@dataclass(frozen=True, slots=True)
class CamVariant:
    """A method with the options of `Explainer.explain`; `over_good`: a good image as background."""

    method: str
    max_n: int | None = None
    scoring: Scoring = "seed"
    choice: MapRanking = "deviation"
    over_good: bool = False
    gradient_of: GradientOf = "logit"


@dataclass(frozen=True, slots=True)
class CamScore:
    """The quality of a method, averaged over the images; fractions 0..1.

    `pointing`: the peak lies in the mask. `heat_inside`: fraction of the heat that does. `drop` and
    `increase`: average drop and increase in confidence (Chattopadhyay et al. 2018, arXiv 1710.11063, section
    5.1) of the input times the heat. `deletion`, less is better, and `insertion`, more is better: area under
    the score while pixels, hottest first, are removed from or inserted into the image (Petsiuk et al. 2018,
    arXiv 1806.07421); the pixels of a good image replace removed ones. `milliseconds`: median of one
    explanation, classification included. `without`: images without heat; they count as not pointed at, with
    no heat inside, and are left out of the rest.

    `overlap` and `found`: median intersection over union of the strongest box with the mask's, and fraction
    of at least 0.5. For Faster-Score-CAM also `weight_spread`, how far apart the weights of an image's maps
    are (median, (max - min) / max), and `overlap_equal`, the overlap with equal weights, which need no pass:
    where both overlaps are the same, scoring the maps bought no better box.
    """

    asked: CamVariant
    pictures: int
    without: int
    pointing: float
    heat_inside: float
    drop: float
    increase: float
    deletion: float
    insertion: float
    milliseconds: float
    overlap: float
    found: float
    weight_spread: float = math.nan
    overlap_equal: float = math.nan


COUNTS = (1, 3, 5, 10, 20, 50)


def cam_variants(counts: Sequence[int] = COUNTS) -> list[CamVariant]:
    """Return the gradient CAMs, and each way to choose and score maps for each count, and for all maps."""
    ways: list[tuple[Scoring, MapRanking, bool]] = [
        ("seed", "deviation", False),
        ("seed", "gradient", False),
        ("paper", "deviation", False),
        ("paper", "deviation", True),
        ("paper", "gradient", True),
    ]
    faster = [CamVariant("faster-score-cam", count, *way) for way in ways for count in counts]
    whole = [
        CamVariant("score-cam"),
        CamVariant("score-cam", scoring="paper"),
        CamVariant("score-cam", scoring="paper", over_good=True),
    ]
    gradient: tuple[GradientOf, ...] = ("logit", "probability")
    gradients = [
        CamVariant(method, gradient_of=of) for method in ("grad-cam", "grad-cam++") for of in gradient
    ]
    return [*gradients, *faster, *whole]


def name(variant: CamVariant) -> str:
    """Describe a variant in a few words."""
    if "score" not in variant.method:
        return variant.method + (" of the probability" if variant.gradient_of == "probability" else "")
    count = "" if variant.max_n is None else f" N={variant.max_n}"
    choice = " by gradient" if variant.choice == "gradient" else ""
    return f"{variant.method}{count}{choice}, {variant.scoring}" + (" over good" if variant.over_good else "")


def as_table(found: Sequence[CamScore]) -> Table:
    """Return the comparison as a table, for the terminal and the report."""
    header = (
        "method",
        "pointing",
        "heat inside",
        "drop",
        "increase",
        "deletion",
        "insertion",
        "IoU",
        "found at 0.5",
        "weight spread",
        "IoU, equal weights",
        "no heat",
        "ms",
    )
    rows = tuple(
        (
            name(one.asked),
            *(
                format_number(value)
                for value in (
                    one.pointing,
                    one.heat_inside,
                    one.drop,
                    one.increase,
                    one.deletion,
                    one.insertion,
                    one.overlap,
                    one.found,
                    one.weight_spread,
                    one.overlap_equal,
                )
            ),
            f"{one.without}/{one.pictures}",
            f"{one.milliseconds:.0f}",
        )
        for one in found
    )
    note = (
        "Deletion: less is better; insertion: more is better; both insert pixels of a good image. "
        "Drop and increase multiply the input with the heat, so they also depend on the score of blank "
        "regions. Equal weights need no pass of the network: where their IoU is the same, the weights "
        "bought no better box."
    )
    return Table("Explanation methods", header, rows, note)
