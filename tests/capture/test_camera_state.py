"""States and outages: each change said once, and every moment without a picture in exactly one gap."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.camera_state import CameraStateMachine, FrameRateMonitor
from monitor.capture.gaps import OutageTracker
from monitor.records import CameraStateChange, Gap

START = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)


def heard() -> tuple[CameraStateMachine, list[Gap], list[CameraStateChange]]:
    gaps: list[Gap] = []
    changes: list[CameraStateChange] = []
    condition = CameraStateMachine(
        "cam", lambda told: (gaps if isinstance(told, Gap) else changes).append(told)
    )
    return condition, gaps, changes


@given(st.lists(st.tuples(st.sampled_from(["refused", "timeout", "gone", None]), st.integers(1, 50))))
def test_the_gaps_of_an_outage_adjoin_and_reach_from_the_failure_to_the_next_picture(
    steps: list[tuple[str | None, int]],
):
    outage, gaps, now, dark = OutageTracker("cam"), [], START, timedelta()
    cause_before = None
    for cause, seconds in steps:
        gap = outage.close(now) if cause is None else outage.open(cause, now)
        gaps += [gap] if gap else []
        cause_before = cause
        now += timedelta(seconds=seconds)
        dark += timedelta(seconds=seconds) if cause_before else timedelta()
    last = outage.close(now)
    gaps += [last] if last else []
    assert sum((gap.ended_at - gap.started_at for gap in gaps), timedelta()) == dark
    assert all(earlier.ended_at <= later.started_at for earlier, later in pairwise(gaps))
    assert all(
        earlier.cause != later.cause
        for earlier, later in pairwise(gaps)
        if earlier.ended_at == later.started_at and earlier.ended_at != now
    ) or any(cause is None for cause, _ in steps)
    assert all(gap.first is gap.last is None and gap.frames == 0 for gap in gaps)


def test_a_clock_that_is_set_back_makes_no_gap_that_ends_before_it_begins():
    outage = OutageTracker("cam")
    outage.open("gone", START)
    gap = outage.close(START - timedelta(hours=1))
    assert gap is not None
    assert gap.started_at == gap.ended_at == START


def test_each_change_of_state_is_said_once_and_nothing_after_the_end():
    condition, gaps, changes = heard()
    condition.start()
    for second in range(3):
        condition.frame_arrived(START + timedelta(seconds=second), second)
    condition.mark_failed("stalled", "no picture came for 3 s", "stalled")
    condition.mark_failed("timeout", "no answer")
    condition.mark_failed("timeout", "no answer")
    condition.frame_arrived(datetime.now(UTC), 9.0)
    assert condition.mark_ended()
    assert not condition.mark_ended()
    condition.mark_failed("gone", "pulled")
    assert [change.state for change in changes] == ["starting", "up", "stalled", "down", "up", "ended"]
    assert [gap.cause for gap in gaps] == ["stalled", "timeout"]
    assert gaps[0].started_at == START + timedelta(seconds=2), "an outage begins at the last good picture"
    assert gaps[0].ended_at == gaps[1].started_at


def test_a_frozen_picture_is_a_state_of_its_own_until_another_comes():
    condition, gaps, changes = heard()
    condition.start()
    condition.frame_arrived(START, 0.0)
    condition.frame_refused(START + timedelta(seconds=1), "frozen", "the same")
    condition.frame_refused(START + timedelta(seconds=2), "frozen", "the same")
    condition.frame_arrived(START + timedelta(seconds=3), 3.0)
    assert [change.state for change in changes] == ["starting", "up", "frozen", "up"]
    assert not gaps, "its frames are counted one by one"


def test_pictures_that_cannot_be_decoded_do_not_make_a_camera_well():
    condition, gaps, changes = heard()
    condition.start()
    condition.mark_failed("gone", "pulled")
    condition.frame_accounted(START)
    assert [change.state for change in changes] == ["starting", "down"]
    assert len(gaps) == 1, "from then on each picture is accounted for"


@given(st.floats(1, 200), st.floats(0.2, 3))
def test_a_rate_far_from_the_expected_one_is_said_and_one_near_it_is_not(expected: float, share: float):
    watch = FrameRateMonitor(expected)
    period = 1 / (expected * share)
    told = [seen for number in range(4000) if (seen := watch.observe(number * period)) is not None]
    assert told, "a window has an end"
    for verdict, rate in told:
        assert abs(rate / (expected * share) - 1) < 0.01
        if share < 0.69:
            assert verdict == "slow"
        elif share > 1.31:
            assert verdict == "fast"
        elif 0.71 < share < 1.29:
            assert verdict is None
