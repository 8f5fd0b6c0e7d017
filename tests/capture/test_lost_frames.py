"""Lost frames are estimated where a source is regular, and nowhere else."""

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.worker.lost_frames import LostFrameEstimator, LostFrames


def observe(frames: Iterable[tuple[float, float]], *, is_live: bool = True) -> list[LostFrames]:
    """What is proved lost by (time stamp, arrival) of each frame."""
    estimator = LostFrameEstimator()
    lost = [loss for stamp, arrival in frames for loss in estimator.observe(stamp, arrival, is_live=is_live)]
    return lost + estimator.flush()


@given(
    period=st.sampled_from([1 / 60, 1 / 30, 1 / 15, 0.1, 0.5]),
    lost=st.integers(1, 60),
    jitter=st.floats(0, 0.08),
    delay=st.floats(0, 3),
    seed=st.integers(0, 1000),
)
def test_frames_that_a_regular_camera_lost_are_counted(
    period: float, lost: int, jitter: float, delay: float, seed: int
):
    draw = random.Random(seed)
    times = [n * period for n in range(110) if not 30 <= n < 30 + lost]
    stamps = [at + draw.uniform(-0.5, 0.5) * jitter * period for at in times]
    found = observe((stamp, stamp + delay + draw.uniform(0, 0.3) * period) for stamp in stamps)
    assert len(found) == 1
    assert abs(found[0].count - lost) <= 0.03 * lost


def test_a_time_stamp_that_jumps_is_no_loss():
    for jump in (-3.0, 0.4, 5.0, 3600.0):
        frames = [(n / 15 + (jump if n >= 40 else 0), n / 15) for n in range(80)]
        assert observe(frames) == []


def test_a_backlog_that_arrives_at_once_is_no_loss():
    frames = [(n / 15, max(n / 15, 4.0) if n >= 30 else n / 15) for n in range(90)]
    assert observe(frames) == []


def test_a_gap_behind_a_backlog_is_a_loss():
    stamps = [n / 15 for n in range(90) if not 40 <= n < 70]
    found = observe((stamp, max(stamp, 7.0) if stamp > 1 else stamp) for stamp in stamps)
    assert [loss.count for loss in found] == [30]


def test_a_late_time_stamp_that_the_next_one_makes_up_for_is_no_loss():
    stamps = [n / 15 + (1 / 15 if n == 40 else 0) for n in range(80)]
    assert observe((stamp, stamp) for stamp in stamps) == []


@given(st.integers(0, 1000))
def test_a_triggered_camera_loses_nothing(seed: int):
    draw = random.Random(seed)
    at, frames = 0.0, []
    for _ in range(200):
        at += draw.expovariate(1.5) + 0.1
        frames.append((at, at + 0.02))
    assert observe(frames) == []


def test_a_rate_that_changes_is_no_loss():
    at, frames = 0.0, []
    for period in [1 / 30] * 50 + [1 / 15] * 50 + [1 / 10] * 50 + [1 / 30] * 50:
        at += period
        frames.append((at, at))
    assert observe(frames) == []


def test_a_recording_has_lost_frames_too_but_no_hour_of_them():
    stamps = [n / 15 for n in range(90) if not 40 <= n < 70]
    assert [
        loss.count for loss in observe(((s, 0.001 * n) for n, s in enumerate(stamps)), is_live=False)
    ] == [30]
    jump = [(n / 15 + (3600 if n > 40 else 0), 0.001 * n) for n in range(80)]
    assert observe(jump, is_live=False) == []


def test_losses_one_after_the_other_are_all_counted():
    stamps = [n / 15 for n in range(120) if n < 30 or n % 7]
    found = observe((stamp, stamp) for stamp in stamps)
    assert sum(loss.count for loss in found) == sum(n % 7 == 0 for n in range(30, 119))


def test_the_interval_of_a_loss_is_that_between_its_neighbours():
    stamps = [n / 15 for n in range(60) if not 30 <= n < 45]
    (loss,) = observe((stamp, stamp + 1) for stamp in stamps)
    assert (round(loss.since - 1, 3), round(loss.until - 1, 3)) == (round(29 / 15, 3), 3.0)
    assert loss.detail.startswith("about 15 frames: ")


@given(late=st.integers(1, 4), behind=st.integers(5, 20))
def test_frames_that_come_out_of_order_are_no_loss(late: int, behind: int):
    stamps = [n / 15 for n in range(80)]
    moved = [stamps.pop(50 - behind) for _ in range(late)]
    stamps[50:50] = moved
    found = observe(((stamp, n / 15) for n, stamp in enumerate(stamps)), is_live=False)
    assert sum(loss.count for loss in found) <= (0 if behind <= 15 else late)
