"""The account of time for explanations: never overdrawn by more than a step, never closed to who is alone."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.pipeline.budget import TimeBudget

shares = st.floats(0.01, 0.99)
pauses = st.floats(0, 5)
steps = st.floats(0.001, 3)


@given(shares, st.floats(1, 30), st.lists(st.tuples(pauses, steps, st.integers(0, 50)), max_size=60))
def test_over_any_time_no_more_than_the_share_is_used_and_one_step(
    share: float, window: float, work: list[tuple[float, float, int]]
) -> None:
    now, used = 0.0, []  # (began, seconds)
    budget = TimeBudget(share, 1e9, now=now, window=window)
    for pause, step, waiting in work:
        now += pause
        allowance = budget.allocate(now, now, queued=waiting)
        for _ in range(10):
            if not allowance.may_continue(now):
                break
            used.append((now, step))
            now += step
            allowance.spend(step)
    for first in range(len(used)):
        for last in range(first, len(used)):
            span = used[last][0] + used[last][1] - used[first][0]
            spent = sum(seconds for _, seconds in used[first : last + 1])
            assert spent <= share * (window + span) + used[last][1] + 1e-6


@given(shares, st.lists(st.tuples(pauses, steps), max_size=30), st.floats(0.1, 60))
def test_a_frame_that_comes_alone_after_a_debt_is_paid_gets_at_least_a_step(
    share: float, work: list[tuple[float, float]], debt: float
) -> None:
    budget, now = TimeBudget(share, 2.0, now=0.0), 0.0
    for pause, step in work:
        now += pause
        budget.allocate(now, now, queued=0).spend(step)
    now += sum(step for _, step in work) / share + debt
    assert budget.allocate(now, now, queued=0).may_continue(now)


@given(shares, st.floats(0, 100), st.floats(0.01, 10), st.floats(0, 20))
def test_nothing_is_worked_on_after_the_deadline(
    share: float, captured: float, deadline: float, later: float
) -> None:
    budget = TimeBudget(share, deadline, now=captured)
    allowance = budget.allocate(captured, captured + later, queued=0)
    assert allowance.may_continue(captured + later) == (captured + later < captured + deadline)
    assert (allowance.stop_reason is None) == (captured + later < captured + deadline)


def test_an_idle_daemon_explains_in_full() -> None:
    budget = TimeBudget(0.3, 2.0, now=0.0)
    for second in range(60):  # one flagged frame a second, 200 ms each
        now, maps = float(second), 0
        allowance = budget.allocate(now, now, queued=0)
        while maps < 10 and allowance.may_continue(now):
            allowance.spend(0.02)
            now += 0.02
            maps += 1
        assert maps == 10


def test_a_share_of_all_time_is_no_limit() -> None:
    budget = TimeBudget(1.0, 1e9, now=0.0)
    budget.spend(1e6)
    assert budget.allocate(0.0, 0.0, queued=1000).may_continue(0.0)


def test_a_clock_that_stands_still_or_is_read_late_pays_nothing_twice() -> None:
    budget = TimeBudget(0.5, 2.0, now=10.0, window=4.0)
    budget.spend(2.0)
    assert budget.available(10.0) == 0.0
    assert budget.available(9.0) == 0.0
    assert budget.available(11.0) == 0.5
    assert budget.available(100.0) == 2.0
