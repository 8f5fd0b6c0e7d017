"""The judge: every frame of every camera gets a verdict or a word on why not."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.inference.handle import ModelSpec
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import FlaggedFrame
from monitor.records import Box, Frame, Gap
from tests.support.recording import SIZE, Answer, RecordingObserver, frame


@dataclass
class FakeCamera:
    """Hands over frames whose brightness says what the network will answer."""

    name: str
    waiting: list[Frame]

    def take(self, limit: int) -> list[Frame]:
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    @property
    def ended(self) -> bool:
        return not self.waiting


@dataclass
class Run:
    batches: list[int]
    flagged: list[FlaggedFrame]
    gaps: list[Gap]
    notes: RecordingObserver


def run(
    cameras: list[FakeCamera],
    *,
    batch: int = 4,
    score: Callable[[float], float] = lambda brightness: brightness / 255,
) -> Run:
    done = Run([], [], [], RecordingObserver())

    def classify(pictures: NDArray[np.uint8]) -> Answer:
        done.batches.append(len(pictures))
        means = pictures.mean(axis=(1, 2, 3))
        scores = np.array([score(float(mean)) for mean in means], np.float32)
        return Answer(scores, means[:, None].astype(np.float32), list(range(len(pictures))))

    judgement = ModelSpec(
        classify=classify,
        threshold=0.5,
        labels=("good", "defect"),
        batch=batch,
        distance=lambda features: features[:, 0],
        limit=200.0,
    )
    InferenceStage(
        cameras,
        judgement,
        on_flagged=done.flagged.append,
        report=done.gaps.append,
        observer=done.notes,
    ).run()
    return done


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 255), max_size=12), min_size=1, max_size=4),
    st.integers(1, 9),
)
def test_every_frame_is_judged_once_and_exactly_the_bright_ones_are_flagged(
    brightness: list[list[int]], batch: int
) -> None:
    cameras = [
        FakeCamera(f"c{index}", [frame(f"c{index}", number, value) for number, value in enumerate(values)])
        for index, values in enumerate(brightness)
    ]
    done = run(cameras, batch=batch)
    wanted = {
        (f"c{index}", number)
        for index, values in enumerate(brightness)
        for number, value in enumerate(values)
        if np.float32(value / 255) >= 0.5
    }
    assert {(it.frame.camera, it.frame.number) for it in done.flagged} == wanted
    clean = sum(len(values) for values in brightness) - len(wanted)
    assert sum(done.notes.frames.values()) == clean  # the reporter counts the flagged
    assert all(size <= batch for size in done.batches)


def test_a_camera_with_many_waiting_frames_does_not_hold_up_another() -> None:
    done = run(
        [
            FakeCamera("fast", [frame("fast", number, 0) for number in range(40)]),
            FakeCamera("slow", [frame("slow", 0, 0)]),
        ]
    )
    assert "slow" in done.notes.order[:4]


def test_a_frame_is_as_defective_as_its_worst_tile_and_only_that_tile_is_passed_on() -> None:
    tiles = tuple(Box(left, top, left + SIZE, top + SIZE) for top in (0, SIZE) for left in (0, SIZE))
    shown = frame("c", 7, 0, tiles)
    shown.tile_inputs[2] = 255
    done = run([FakeCamera("c", [shown])])
    (flagged,) = done.flagged
    assert flagged.verdict.score == pytest.approx(1)
    assert [view.box for view in flagged.views] == [Box(0, SIZE, SIZE, 2 * SIZE)]
    assert flagged.views[0].activations == 2


def test_a_score_that_is_no_number_is_neither_clean_nor_a_defect() -> None:
    frames = [frame("c", 0, 0), frame("c", 1, 255)]
    done = run([FakeCamera("c", frames)], score=lambda mean: float("nan") if mean < 1 else 1.0)
    assert [(gap.first, gap.cause) for gap in done.gaps] == [(0, "unusable")]
    assert [it.frame.number for it in done.flagged] == [1]
    assert not done.notes.frames


def test_a_surface_beyond_the_limit_is_marked_unfamiliar() -> None:
    done = run([FakeCamera("c", [frame("c", 0, 190), frame("c", 1, 210)])])
    assert [it.novelty is not None and it.novelty.is_novel for it in done.flagged] == [False, True]
    assert done.notes.unfamiliar == [210]


def test_the_judge_is_idle_only_while_no_frame_is_without_its_verdict() -> None:
    seen: list[bool] = []

    class Live(FakeCamera):
        ended = False

    camera = Live("one", [])

    def classify(pictures: NDArray[np.uint8]) -> Answer:
        seen.append(judge.idle)
        return Answer(np.zeros(len(pictures), np.float32), np.zeros((len(pictures), 1), np.float32), [])

    judge = InferenceStage(
        [camera],
        ModelSpec(classify=classify, threshold=0.5, labels=("good", "defect"), batch=4),
        on_flagged=lambda _: None,
        report=lambda _: None,
        observer=RecordingObserver(),
    )
    assert not judge.idle, "it has not looked yet"
    thread = threading.Thread(target=judge.run, daemon=True)
    thread.start()
    for number in range(20):
        wait_until(lambda: judge.idle)
        camera.waiting.append(frame("one", number, 0))
        judge.notify()
        wait_until(lambda: len(seen) > number)  # noqa: B023 (it is called before the next round)
    assert seen == [False] * 20
    Live.ended = True
    judge.notify()
    thread.join(5)
    judge.notify()  # a camera says that it has ended, when the judge has seen it already
    assert judge.idle, "nothing will ever wait again"
    assert not thread.is_alive()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
