"""The gate: verdicts first, explanations in between, nobody for ever."""

import math
import threading
import time
from collections.abc import Callable

import pytest

from monitor.classify.gate import Gate


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def queued(gate: Gate, work: Callable[[], None]) -> threading.Thread:
    """A thread that waits for the gate by now: nothing else tells that it does."""
    thread = started(work)
    time.sleep(0.1)
    return thread


def test_a_verdict_that_came_later_goes_before_a_step_of_an_explanation() -> None:
    gate, order = Gate(share=0.001), []

    def verdict() -> None:
        with gate.first():
            order.append("verdict")

    def step() -> None:
        with gate.after():
            order.append("step")

    with gate.after():
        time.sleep(0.02)  # the next step then has patience for 20 s
    with gate.first():
        threads = [queued(gate, step), queued(gate, verdict)]
        assert not order
    for thread in threads:
        thread.join(5)
    assert order == ["verdict", "step"]


def test_nothing_runs_beside_anything_else() -> None:
    gate, inside, seen = Gate(0.3), [], []

    def many(turn: Callable[[], object]) -> None:
        for _ in range(50):
            with turn():  # type: ignore[attr-defined]  # a context manager
                inside.append(1)
                seen.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [started(lambda: many(gate.first)), started(lambda: many(gate.after))]
    for thread in threads:
        thread.join(20)
    assert seen == [1] * 100


def test_verdicts_without_a_pause_leave_explanations_their_share() -> None:
    gate, held = Gate(share=0.25), {"verdict": 0.0, "step": 0.0}
    over = threading.Event()

    def verdicts() -> None:
        while not over.is_set():
            with gate.first():
                began = time.monotonic()
                time.sleep(0.004)
                held["verdict"] += time.monotonic() - began

    judge = started(verdicts)
    for _ in range(30):
        with gate.after():
            began = time.monotonic()
            time.sleep(0.004)
            held["step"] += time.monotonic() - began
    over.set()
    judge.join(5)
    # A step waits three times as long as it takes, and then for the verdict that runs: a fifth to a quarter.
    assert 0.1 < held["step"] / (held["step"] + held["verdict"]) < 0.35


def test_work_that_fails_leaves_the_gate_open() -> None:
    gate = Gate()
    for turn in (gate.first, gate.after):
        with pytest.raises(OSError, match="the device"), turn():
            raise OSError("the device")
    with gate.first():
        pass


def test_a_step_that_would_be_in_the_way_of_the_next_frame_waits_for_it() -> None:
    due = time.monotonic() + 0.25  # the next frame's; after it there is room for all
    gate = Gate(0.01, lambda now: due - now if now < due else math.inf)
    with gate.after():
        time.sleep(0.1)  # so long takes a step, as far as the gate knows
    with gate.after():
        fits = time.monotonic()
        time.sleep(0.1)
    with gate.after():
        waited = time.monotonic()
    assert fits < due - 0.1, "there was room for this one"
    assert waited >= due


def test_a_step_for_which_there_is_never_room_gets_its_share_all_the_same() -> None:
    gate = Gate(0.5, lambda _: 0.0)
    waits = []
    for _ in range(4):
        asked = time.monotonic()
        with gate.after():
            waits.append(time.monotonic() - asked)
            time.sleep(0.05)
    assert waits[0] < 0.04, "nothing is known yet of how long it takes"
    assert all(0.045 < wait < 0.5 for wait in waits[1:])
