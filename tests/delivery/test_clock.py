"""The age of a message is that of the time since boot, whatever becomes of the wall clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.delivery.clock import AgeClock, Stamp, boot_id
from monitor.telemetry.kernel_clock import kernel_synchronised, kernel_time


@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1e5), st.floats(-1e9, 1e9), st.booleans()), min_size=1, max_size=20
    )
)
def test_within_a_boot_no_step_of_the_wall_clock_changes_an_age(
    changes: list[tuple[float, float, bool]],
) -> None:
    state = {"seconds": 100.0, "wall": 1.7e9, "synchronised": True}
    clock = AgeClock(
        seconds=lambda: state["seconds"],
        wall=lambda: state["wall"],
        is_synchronised=lambda: bool(state["synchronised"]),
        boot="one",
    )
    stamp, elapsed = clock.stamp(age=5.0), 5.0
    for seconds, step, synchronised in changes:
        state["seconds"] += seconds
        state["wall"] += seconds + step
        state["synchronised"] = synchronised
        elapsed += seconds
        assert clock.age(stamp) == pytest.approx(elapsed)


@given(wall=st.none() | st.floats(0, 4e9), synchronised=st.booleans(), uptime=st.floats(0, 1e6))
def test_across_boots_an_age_is_never_more_than_two_synchronised_clocks_show(
    wall: float | None, synchronised: bool, uptime: float
) -> None:
    now = [50.0]
    clock = AgeClock(
        seconds=lambda: now[0], wall=lambda: 2e9, is_synchronised=lambda: synchronised, boot="two"
    )
    now[0] += uptime
    age = clock.age(Stamp("one", 1e9, wall))
    known = 2e9 - wall if synchronised and wall is not None else 0.0
    assert age == pytest.approx(max(uptime, known))


def test_this_machine_has_a_boot_and_a_status_of_its_clock() -> None:
    assert len(boot_id()) == 36
    assert kernel_synchronised() == kernel_time().synchronised
    clock = AgeClock()
    assert 0 <= clock.age(clock.stamp()) < 60
