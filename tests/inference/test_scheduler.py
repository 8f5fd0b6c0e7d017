"""The gate: verdicts first, explanations in between, nobody for ever."""

import math
import threading
import time
from collections.abc import Callable

import pytest

from monitor.inference.scheduler import DeviceScheduler


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def queued(gate: DeviceScheduler, work: Callable[[], None]) -> threading.Thread:
    """A thread that waits for the gate by now: nothing else tells that it does."""
    thread = started(work)
    time.sleep(0.1)
    return thread


def test_a_verdict_that_came_later_goes_before_a_step_of_an_explanation() -> None:
    gate, order = DeviceScheduler(explanation_share=0.001), []

    def verdict() -> None:
        with gate.verdict_slot():
            order.append("verdict")

    def step() -> None:
        with gate.explanation_slot():
            order.append("step")

    with gate.explanation_slot():
        time.sleep(0.02)  # the next step then has patience for 20 s
    with gate.verdict_slot():
        threads = [queued(gate, step), queued(gate, verdict)]
        assert not order
    for thread in threads:
        thread.join(5)
    assert order == ["verdict", "step"]


def test_nothing_runs_beside_anything_else() -> None:
    gate, inside, seen = DeviceScheduler(0.3), [], []

    def many(turn: Callable[[], object]) -> None:
        for _ in range(50):
            with turn():  # type: ignore[attr-defined]  # a context manager
                inside.append(1)
                seen.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [started(lambda: many(gate.verdict_slot)), started(lambda: many(gate.explanation_slot))]
    for thread in threads:
        thread.join(20)
    assert seen == [1] * 100


def test_verdicts_without_a_pause_leave_explanations_their_share() -> None:
    gate, held = DeviceScheduler(explanation_share=0.25), {"verdict": 0.0, "step": 0.0}
    over = threading.Event()

    def verdicts() -> None:
        while not over.is_set():
            with gate.verdict_slot():
                began = time.monotonic()
                time.sleep(0.004)
                held["verdict"] += time.monotonic() - began

    judge = started(verdicts)
    for _ in range(30):
        with gate.explanation_slot():
            began = time.monotonic()
            time.sleep(0.004)
            held["step"] += time.monotonic() - began
    over.set()
    judge.join(5)
    # A step waits three times as long as it takes, and then for the verdict that runs: a fifth to a quarter.
    assert 0.1 < held["step"] / (held["step"] + held["verdict"]) < 0.35


def test_work_that_fails_leaves_the_gate_open() -> None:
    gate = DeviceScheduler()
    for turn in (gate.verdict_slot, gate.explanation_slot):
        with pytest.raises(OSError, match="the device"), turn():
            raise OSError("the device")
    with gate.verdict_slot():
        pass


def test_a_step_that_would_be_in_the_way_of_the_next_frame_waits_for_it() -> None:
    due = time.monotonic() + 0.25  # the next frame's; after it there is room for all
    gate = DeviceScheduler(0.01, lambda now: (due - now if now < due else math.inf, 0.0))
    with gate.explanation_slot():
        time.sleep(0.1)  # so long takes a step, as far as the gate knows
    with gate.explanation_slot():
        fits = time.monotonic()
        time.sleep(0.1)
    with gate.explanation_slot():
        waited = time.monotonic()
    assert fits < due - 0.1, "there was room for this one"
    assert waited >= due


@pytest.mark.parametrize(("verdict", "fits"), [(0.02, True), (0.19, False)])
def test_a_frame_may_be_kept_waiting_as_long_as_its_verdict_comes_before_the_next(
    verdict: float, fits: bool
) -> None:
    gate = DeviceScheduler(0.01, lambda _: (0.0, 0.2))  # a frame comes at any moment
    with gate.verdict_slot():
        time.sleep(verdict)
    with gate.explanation_slot():
        time.sleep(0.025)
    asked = time.monotonic()
    with gate.explanation_slot():
        assert (time.monotonic() - asked < 0.1) == fits


def test_a_step_goes_as_soon_as_no_frame_waits_any_more() -> None:
    until = time.monotonic() + 0.3
    gate = DeviceScheduler(0.001, lambda now: (-math.inf if now < until else math.inf, 0.03))
    with gate.explanation_slot():
        time.sleep(0.02)  # so the next one has patience for 20 s
    with gate.explanation_slot():
        assert 0 <= time.monotonic() - until < 0.2


def test_a_step_for_which_there_is_never_room_gets_its_share_right_after_a_verdict() -> None:
    gate, over, verdicts, begun = DeviceScheduler(0.5, lambda _: (-math.inf, 0.04)), threading.Event(), [], []
    with gate.explanation_slot():
        time.sleep(0.03)

    def judge() -> None:
        while not over.is_set():
            with gate.verdict_slot():
                time.sleep(0.02)
            verdicts.append(time.monotonic())
            time.sleep(0.02)  # so the device is free for half of the time

    thread = started(judge)
    for _ in range(5):
        asked = time.monotonic()
        with gate.explanation_slot():
            begun.append((asked, time.monotonic()))
            time.sleep(0.03)
    over.set()
    thread.join(5)
    waits = [at - asked for asked, at in begun]
    assert all(0.11 < wait < 0.5 for wait in waits), waits  # three gaps, and up to one more
    after = [min((at - end for end in verdicts if end <= at + 0.001), default=math.inf) for _, at in begun]
    assert sorted(after)[2] < 0.008, after  # the median: the machine may be busy


def test_a_step_for_which_there_is_never_room_goes_without_any_verdict_at_last() -> None:
    gate, waits = DeviceScheduler(0.5, lambda _: (-math.inf, 0.02)), []
    for _ in range(4):
        asked = time.monotonic()
        with gate.explanation_slot():
            waits.append(time.monotonic() - asked)
            time.sleep(0.05)
    assert all(0.07 < wait < 0.5 for wait in waits), waits
