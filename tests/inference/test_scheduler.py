"""The scheduler of the device: verdicts first, explanations in between, nothing beside anything else."""

import math
import threading
import time
from collections.abc import Callable

import pytest

from monitor.inference.scheduler import DeviceScheduler
from tests.support.busy_device import verdicts_without_a_pause


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
    gate, order = DeviceScheduler(), []

    def verdict() -> None:
        with gate.verdict_slot():
            order.append("verdict")

    def step() -> None:
        with gate.explanation_slot():
            order.append("step")

    with gate.verdict_slot():
        threads = [queued(gate, step), queued(gate, verdict)]
        assert not order
    for thread in threads:
        thread.join(5)
    assert order == ["verdict", "step"]


def order_behind_a_verdict(gate: DeviceScheduler, patience: float) -> list[str]:
    """Who comes in which order after a verdict: work in the background asks first, then two verdicts."""
    order = []

    def verdict(name: str) -> None:
        with gate.verdict_slot():
            order.append(name)

    def background() -> None:
        with gate.in_background(patience):
            verdict("background")

    with gate.verdict_slot():
        threads = [queued(gate, background), *(queued(gate, lambda: verdict("verdict")) for _ in range(2))]
    for thread in threads:
        thread.join(5)
    return order


def test_a_verdict_in_the_background_waits_for_all_others() -> None:
    assert order_behind_a_verdict(DeviceScheduler(), math.inf) == ["verdict", "verdict", "background"]


def test_with_patience_it_lets_only_so_many_verdicts_go_first() -> None:
    assert order_behind_a_verdict(DeviceScheduler(), 1) == ["verdict", "background", "verdict"]


def test_a_thread_is_in_the_background_for_a_time_only() -> None:
    gate = DeviceScheduler()
    with gate.in_background(), gate.verdict_slot():
        pass
    order: list[str] = []

    def step() -> None:
        with gate.explanation_slot():
            order.append("step")

    def verdict() -> None:
        with gate.in_background():
            pass
        with gate.verdict_slot():
            order.append("verdict")

    with gate.verdict_slot():
        threads = [queued(gate, step), queued(gate, verdict)]
    for thread in threads:
        thread.join(5)
    assert order == ["verdict", "step"]


def test_verdicts_without_a_pause_do_not_starve_patient_work() -> None:
    gate = DeviceScheduler()

    def load() -> None:
        with gate.in_background(patience=4):
            for _ in range(100):
                with gate.verdict_slot():
                    pass

    with verdicts_without_a_pause(gate):
        loading = started(load)
        loading.join(20)
        assert not loading.is_alive()


def test_nothing_runs_beside_anything_else() -> None:
    gate, inside, seen = DeviceScheduler(), [], []

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


def test_verdicts_with_a_short_pause_do_not_starve_an_explanation() -> None:
    gate, over = DeviceScheduler(), threading.Event()

    def verdicts() -> None:
        while not over.is_set():
            with gate.verdict_slot():
                time.sleep(0.004)
            time.sleep(0.001)  # what the pipeline does between two passes

    judge = started(verdicts)
    for _ in range(20):
        with gate.explanation_slot():
            time.sleep(0.004)
    over.set()
    judge.join(5)
    assert not judge.is_alive()


def test_work_that_fails_leaves_the_gate_open() -> None:
    gate = DeviceScheduler()
    for turn in (gate.verdict_slot, gate.explanation_slot):
        with pytest.raises(OSError, match="the device"), turn():
            raise OSError("the device")
    with gate.verdict_slot():
        pass
