"""What mistakes cost at a threshold."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.learning.evaluate.metrics import Flags, Scores, bootstrap, false_alarm_rate, recall, wilson

REPEATS = 500


@dataclass(frozen=True, slots=True)
class Costs:
    """What mistakes cost: `miss` and `alarm` in any one unit, `prevalence` the fraction of defective frames.

    The defaults weigh one missed defect like a hundred false alarms, and expect two defects in a hundred
    frames.
    """

    miss: float = 100.0
    alarm: float = 1.0
    prevalence: float = 0.02

    def __post_init__(self) -> None:
        if self.miss <= 0 or self.alarm <= 0:
            raise UsageError("the costs of a miss and of a false alarm must be above 0")
        if not 0 < self.prevalence < 1:
            raise UsageError(f"the prevalence must lie between 0 and 1, not be {self.prevalence:g}")

    def expected(self, miss_rate: float, alarm_rate: float) -> float:
        """Return the expected cost of a frame at these rates (0..1 each)."""
        return self.prevalence * self.miss * miss_rate + (1 - self.prevalence) * self.alarm * alarm_rate


def expected_figures(
    scores: NDArray[np.float32], defective: NDArray[np.bool_], threshold: float, costs: Costs
) -> dict[str, float]:
    """Return the expected rates and cost at `threshold`, from frames that were not trained on."""
    values = scores.astype(float)
    defects, good = int(defective.sum()), int((~defective).sum())
    missed = int((values[defective] < threshold).sum())
    alarmed = int((values[~defective] >= threshold).sum())

    def cost(chosen: NDArray[np.intp]) -> float:
        drawn, labels = values[chosen], defective[chosen]
        return costs.expected(
            1 - recall(drawn, labels, threshold), false_alarm_rate(drawn, labels, threshold)
        )

    expected = bootstrap(cost, defective, repeats=REPEATS)
    return {
        "expected_miss_rate": missed / defects,
        "expected_miss_rate_high": wilson(missed, defects)[1],
        "expected_false_alarm_rate": alarmed / good,
        "expected_false_alarm_rate_high": wilson(alarmed, good)[1],
        "expected_cost": expected.value,
        "expected_cost_low": expected.low,
        "expected_cost_high": expected.high,
    }


def cost_curve(scores: Scores, defective: Flags, costs: Costs, points: int = 201) -> tuple[Scores, Scores]:
    """Return thresholds from 0 to 1 and the expected cost of a frame at each, both (points,).

    Not a number where one of the classes is missing.
    """
    thresholds = np.linspace(0, 1, points)
    expected = [
        costs.expected(1 - recall(scores, defective, at), false_alarm_rate(scores, defective, at))
        for at in thresholds
    ]
    return thresholds, np.array(expected)
