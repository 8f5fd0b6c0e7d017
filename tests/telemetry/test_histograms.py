"""Quantiles of a histogram."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.telemetry.histograms import histogram_quantile

BORDERS = (0.1, 0.2, 0.5, 1.0, float("inf"))


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    counts = {border: float(sum(value <= border for value in values)) for border in BORDERS}
    true = float(np.quantile(values, share, method="inverted_cdf"))
    upper = next(border for border in BORDERS if true <= border)
    lower = max([0.0, *(border for border in BORDERS if border < upper)])
    found = histogram_quantile(counts, share)
    assert lower - 1e-9 <= found <= upper + 1e-9


def test_nothing_counted_has_no_quantile_and_what_is_beyond_all_borders_has_the_last() -> None:
    assert math.isnan(histogram_quantile({}, 0.5))
    assert math.isnan(histogram_quantile(dict.fromkeys(BORDERS, 0.0), 0.5))
    assert histogram_quantile({0.1: 0.0, 1.0: 0.0, float("inf"): 4.0}, 0.5) == pytest.approx(1.0)
