"""The judge: every frame of every camera gets a verdict or a word on why not."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.pipeline.judge import Flagged, Judge, Judgement
from monitor.records import Box, Frame, Gap, Image

SIZE = 4


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
class Answer:
    scores: NDArray[np.float32]
    features: NDArray[np.float32]
    activations: list[int]


@dataclass
class Notes:
    """An observer that remembers."""

    frames: Counter[tuple[str, str]] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    unfamiliar: list[float] = field(default_factory=list)

    def captured(self, camera: str, timestamp: float) -> None:
        self.order.append(camera)

    def stage(self, camera: str, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self.stages[stage] += 1

    def verdict(self, camera: str, score: float, seconds: float) -> None:
        assert 0 <= score <= 1
        assert seconds >= 0

    def frame(self, camera: str, outcome: str) -> None:
        self.frames[camera, outcome] += 1

    def explanation(self, camera: str, outcome: str) -> None:
        self.stages[outcome] += 1

    def novelty(self, camera: str, distance: float, limit: float) -> None:
        if distance > limit:
            self.unfamiliar.append(distance)


WHOLE = (Box(0, 0, 2 * SIZE, 2 * SIZE),)


def frame(camera: str, number: int, brightness: int, boxes: tuple[Box, ...] = WHOLE) -> Frame:
    image: Image = np.full((2 * SIZE, 2 * SIZE, 3), brightness, np.uint8)
    parts = [image[box.top : box.bottom, box.left : box.right][:SIZE, :SIZE] for box in boxes]
    return Frame(camera, number, datetime.now(UTC), 0.0, image, boxes, np.stack(parts))


@dataclass
class Run:
    batches: list[int]
    flagged: list[Flagged]
    gaps: list[Gap]
    notes: Notes


def run(
    cameras: list[FakeCamera],
    *,
    batch: int = 4,
    score: Callable[[float], float] = lambda brightness: brightness / 255,
) -> Run:
    done = Run([], [], [], Notes())

    def classify(pictures: NDArray[np.uint8]) -> Answer:
        done.batches.append(len(pictures))
        means = pictures.mean(axis=(1, 2, 3))
        scores = np.array([score(float(mean)) for mean in means], np.float32)
        return Answer(scores, means[:, None].astype(np.float32), list(range(len(pictures))))

    judgement = Judgement(
        classify=classify,
        threshold=0.5,
        labels=("good", "defect"),
        batch=batch,
        distance=lambda features: features[:, 0],
        limit=200.0,
    )
    Judge(
        cameras,
        judgement,
        pass_on=done.flagged.append,
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
    shown.inputs[2] = 255
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
    assert [it.novelty is not None and it.novelty.unfamiliar for it in done.flagged] == [False, True]
    assert done.notes.unfamiliar == [210]


def test_the_judge_is_idle_only_while_no_frame_is_without_its_verdict() -> None:
    seen: list[bool] = []

    class Live(FakeCamera):
        ended = False

    camera = Live("one", [])

    def classify(pictures: NDArray[np.uint8]) -> Answer:
        seen.append(judge.idle)
        return Answer(np.zeros(len(pictures), np.float32), np.zeros((len(pictures), 1), np.float32), [])

    judge = Judge(
        [camera],
        Judgement(classify=classify, threshold=0.5, labels=("good", "defect"), batch=4),
        pass_on=lambda _: None,
        report=lambda _: None,
        observer=Notes(),
    )
    assert not judge.idle, "it has not looked yet"
    thread = threading.Thread(target=judge.run, daemon=True)
    thread.start()
    for number in range(20):
        wait_until(lambda: judge.idle)
        camera.waiting.append(frame("one", number, 0))
        judge.wake()
        wait_until(lambda: len(seen) > number)  # noqa: B023 (it is called before the next round)
    assert seen == [False] * 20
    Live.ended = True
    judge.wake()
    thread.join(5)
    judge.wake()  # a camera says that it has ended, when the judge has seen it already
    assert judge.idle, "nothing will ever wait again"
    assert not thread.is_alive()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
