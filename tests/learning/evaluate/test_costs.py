"""Expected costs, and their curve in the report."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.evaluate.costs import Costs, cost_curve
from monitor.learning.evaluate.evaluator import evaluate, explain_image
from monitor.learning.evaluate.html_report import ReportHeader, report

SCORES = np.array([0.1, 0.2, 0.6, 0.4, 0.9])
DEFECTIVE = np.array([False, False, False, True, True])


def test_the_curve_is_the_cost_of_what_is_flagged():
    costs = Costs(miss=10, alarm=1, prevalence=0.1)
    thresholds, expected = cost_curve(SCORES, DEFECTIVE, costs, points=11)
    by_threshold = dict(zip(thresholds.round(1).tolist(), expected.tolist(), strict=True))
    assert by_threshold[0.0] == pytest.approx(0.9)  # every good frame is flagged
    assert by_threshold[0.5] == pytest.approx(0.1 * 10 / 2 + 0.9 / 3)
    assert by_threshold[1.0] == pytest.approx(1.0)  # every defect is missed


@given(st.floats(0.1, 1000), st.floats(0.1, 1000), st.floats(0.001, 0.999), st.floats(1.01, 10))
def test_a_dearer_miss_never_lowers_the_cost(miss, alarm, prevalence, factor):
    _, cheap = cost_curve(SCORES, DEFECTIVE, Costs(miss, alarm, prevalence))
    _, dear = cost_curve(SCORES, DEFECTIVE, Costs(miss * factor, alarm, prevalence))
    assert (dear >= cheap).all()


def test_the_report_draws_the_curve_where_costs_are_given(network, samples):
    header = ReportHeader("model", "data", "command", "2026-11-25")
    found = evaluate(network, samples, repeats=5)

    def page(costs: Costs | None) -> str:
        return report(found, header, lambda one: explain_image(network, one.sample), costs=costs)

    assert "a miss costs 7" in page(Costs(miss=7))
    assert 'aria-label="Expected cost"' in page(Costs())
    assert "Expected cost" not in page(None)
