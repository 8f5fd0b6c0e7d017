"""A batch is split into the passes that cost least."""

from itertools import combinations_with_replacement

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.inference.scheduler import split_batch

sizes = st.sets(st.integers(1, 8), max_size=3).map(lambda found: found | {1})


costs = sizes.flatmap(lambda found: st.fixed_dictionaries({size: st.floats(0.1, 10) for size in found}))


@given(costs, st.integers(0, 12))
def test_no_other_split_costs_less(costs: dict[int, float], count: int) -> None:
    passes = split_batch(costs, count)
    others = (
        other
        for number in range(count + 1)
        for other in combinations_with_replacement(costs, number)
        if sum(other) >= count
    )
    least = min(sum(costs[size] for size in other) for other in others)
    assert sum(costs[size] for size in passes) == pytest.approx(least)


@given(costs, st.integers(1, 30))
def test_all_passes_but_the_last_are_full_and_none_is_empty(costs: dict[int, float], count: int) -> None:
    passes = split_batch(costs, count)
    assert list(passes) == sorted(passes, reverse=True)
    assert sum(passes[:-1]) < count <= sum(passes)


def test_a_processor_splits_and_a_large_gpu_fills_up() -> None:
    linear, constant = {1: 1.1, 2: 2.05, 4: 4.0, 8: 7.9}, {1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0}
    assert [split_batch(linear, count) for count in (1, 3, 5, 8)] == [(1,), (2, 1), (4, 1), (8,)]
    assert all(len(split_batch(constant, count)) == 1 for count in range(1, 9))
