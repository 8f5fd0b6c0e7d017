"""A second model beside that of a camera: every frame is counted, and nobody waits for it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.inference.handle import Classification
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.interfaces import ClassifiedFrame
from monitor.pipeline.shadow_stage import ShadowStage
from monitor.records import Box, Verdict
from tests.support.daemon_process import wait_for
from tests.support.fake_model import SIZE, FakeModel, classification, spec_of
from tests.support.recording import frame

LEFT, RIGHT = Box(0, 0, SIZE, SIZE), Box(SIZE, 0, 2 * SIZE, SIZE)
CHALLENGER = spec_of("challenger", threshold=0.3)


class Shadowing:
    """A stage with what it passes on; `at` is its time."""

    def __init__(self, budget: float = 1.0) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.differences: list[tuple[int, Verdict, str]] = []
        self.at = 0.0
        self.stage = ShadowStage(
            lambda it, verdict, spec: self.differences.append((it.frame.number, verdict, spec.name)),
            self,
            DeviceScheduler(),
            budget=budget,
            clock=lambda: self.at,
        )

    def on_shadow(self, camera: str, outcome: str) -> None:
        self.outcomes[camera, outcome] += 1

    def put(self, number: int, brightness: int, model: FakeModel, camera: str = "top") -> None:
        taken = frame(camera, number, brightness, (LEFT, RIGHT))
        verdict = Verdict("good", brightness / 255, 0.5)
        self.stage.put(model, ClassifiedFrame(taken, verdict, None, spec_of()))

    def wait_for(self, count: int) -> None:
        wait_for(lambda: self.outcomes.total() == count, 20)


@contextmanager
def shadowing(budget: float = 1.0) -> Iterator[Shadowing]:
    its = Shadowing(budget)
    its.stage.start()
    try:
        yield its
    finally:
        its.stage.close()
        its.stage.thread.join(20)
        assert not its.stage.thread.is_alive()


def test_only_differences_are_passed_on() -> None:
    model = FakeModel(CHALLENGER)
    with shadowing() as its:
        for number, brightness in enumerate((0, 100, 200)):  # scores 0, 0.39 and 0.78
            its.put(number, brightness, model)
            its.wait_for(number + 1)
    assert its.outcomes == {("top", "same"): 2, ("top", "differs"): 1}
    ((number, verdict, name),) = its.differences
    assert (number, verdict.label, verdict.threshold, name) == (1, "defect", 0.3, "challenger")
    assert verdict.score == pytest.approx(100 / 255)


def scores(*answers: float) -> Callable[[NDArray[np.uint8]], Classification]:
    """Answer the inputs of one frame so, one input at a time."""
    left = list(answers)

    def classify(inputs: NDArray[np.uint8]) -> Classification:
        assert len(inputs) == 1  # a verdict waits for one input at most
        return classification([left.pop(0)])

    return classify


def test_the_highest_score_of_the_tiles_counts_and_one_that_is_no_number_gives_no_verdict() -> None:
    with shadowing() as its:
        its.put(0, 0, FakeModel(CHALLENGER, scores(0.8, 0.1)))
        its.wait_for(1)
        its.put(1, 0, FakeModel(CHALLENGER, scores(0.8, float("nan"))))
        its.wait_for(2)
    assert its.outcomes == {("top", "differs"): 1, ("top", "dropped"): 1}


def test_a_slow_shadow_loses_its_frames_and_no_caller_waits() -> None:
    entered, release = threading.Event(), threading.Event()

    def hang(inputs: NDArray[np.uint8]) -> Classification:
        entered.set()
        assert release.wait(20)
        return classification([0.0])

    with shadowing() as its:
        its.put(0, 0, FakeModel(CHALLENGER, hang))
        assert entered.wait(20)
        for number in range(1, 50):
            for camera in ("top", "side"):
                its.put(number, 0, FakeModel(CHALLENGER), camera)
        assert its.outcomes == {("top", "dropped"): 48, ("side", "dropped"): 48}
        release.set()
        its.wait_for(99)
    assert its.outcomes == {("top", "dropped"): 48, ("side", "dropped"): 48} | {
        ("top", "same"): 2,
        ("side", "same"): 1,
    }


def test_it_takes_no_more_than_its_share_of_the_time() -> None:
    with shadowing(budget=0.25) as its:

        def take_a_second(inputs: NDArray[np.uint8]) -> Classification:
            its.at += 0.5  # for each of two tiles
            return classification([0.0])

        its.put(0, 0, FakeModel(CHALLENGER, take_a_second))
        its.wait_for(1)
        wait_for(lambda: its.stage.last_heartbeat > 0 and its.at == 1.0, 20)
        its.at = 3.9
        its.put(1, 0, FakeModel(CHALLENGER))
        its.at = 4.0
        its.put(2, 0, FakeModel(CHALLENGER))
        its.wait_for(3)
    assert its.outcomes == {("top", "same"): 2, ("top", "dropped"): 1}


def test_a_frame_that_a_failing_model_takes_and_one_at_the_end_are_counted() -> None:
    def fail(inputs: NDArray[np.uint8]) -> Classification:
        raise RuntimeError("the network")

    with shadowing() as its:
        its.put(0, 0, FakeModel(CHALLENGER, fail))
        its.wait_for(1)
        its.put(1, 0, FakeModel(CHALLENGER), "side")  # the thread pauses after a failure
    assert its.outcomes.total() == 2
    assert its.outcomes["top", "dropped"] == 1
