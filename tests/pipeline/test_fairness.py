"""Many cameras, one judge: nobody starves, nobody waits for more, and what waits is judged together.

Time is simulated: it passes while a batch is judged, and from one arrival to the next when nothing waits.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.inference.handle import Classification
from monitor.inference.router import ModelRouter, Routing
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import ignore
from monitor.records import Frame
from tests.support.fake_model import FakeModel, classification
from tests.support.recording import RecordingObserver, frame

BATCH, BUFFER, END = 8, 8, 3.0


@dataclass
class SimulatedTime:
    """The time, and all that happened."""

    now: float = 0.0
    batches: list[tuple[float, int, float]] = field(default_factory=list)  # (began, pictures, done)
    waits: dict[str, list[float]] = field(default_factory=dict)
    order: dict[str, list[int]] = field(default_factory=dict)
    turns: list[tuple[float, str]] = field(default_factory=list)


class LiveCamera:
    """`fps` frames a second until `END`; of more than `BUFFER` in the queue, the oldest are dropped."""

    source_waits = False

    def __init__(self, name: str, fps: float, world: SimulatedTime) -> None:
        self.name = name
        self.dropped = 0
        self.arrivals = deque(index / fps for index in range(int(END * fps)))
        self._number = 0
        self._world = world
        world.waits[name], world.order[name] = [], []

    def take(self, limit: int) -> list[Frame]:
        due = sum(at <= self._world.now for at in self.arrivals)
        for _ in range(due - BUFFER):
            self.arrivals.popleft()
            self._number += 1
            self.dropped += 1
        if not due:
            return []
        self._world.waits[self.name].append(self._world.now - self.arrivals.popleft())
        self._number += 1
        return [frame(self.name, self._number - 1, 0)]

    @property
    def ended(self) -> bool:
        return not self.arrivals


class SimulatedJudge(InferenceStage):
    """A judge that nobody wakes: when nothing waits, time goes on to the next arrival."""

    def __init__(self, cameras: Sequence[LiveCamera], world: SimulatedTime, cost: Any) -> None:
        def classify(inputs: NDArray[np.uint8]) -> Classification:
            count, began = len(inputs), world.now
            world.now += cost(count)
            world.batches.append((began, count, world.now))
            return classification([0.0] * count)

        super().__init__(
            ModelRouter(FakeModel(classify=classify)),
            ignore,
            ignore,
            RecordingObserver(),
            batch=BATCH,
            clock=lambda: world.now,
        )
        for camera in cameras:
            self.add_camera(camera)
        self.close()
        self._lines, self._world = cameras, world

    def _collect_batch(self, waiting: list[Any], routing: Routing) -> list[Frame]:
        frames = super()._collect_batch(waiting, routing)
        if not frames:
            coming = [camera.arrivals[0] for camera in self._lines if camera.arrivals]
            self._world.now = max(self._world.now, min(coming, default=self._world.now))
            self.notify()
        for one in frames:
            self._world.order[one.camera].append(one.number)
            self._world.turns.append((self._world.now, one.camera))
        return frames


def watch(
    rates: Sequence[float], picture: float, fixed: float = 0.002
) -> tuple[SimulatedTime, list[LiveCamera]]:
    """A judge over cameras of these rates; a batch of n pictures takes fixed + n picture seconds."""
    world = SimulatedTime()
    cameras = [LiveCamera(f"c{index}", rate, world) for index, rate in enumerate(rates)]
    SimulatedJudge(cameras, world, lambda count: fixed + count * picture).run()
    return world, cameras


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.sampled_from([1.0, 5.0, 30.0, 120.0, 500.0]), min_size=1, max_size=6),
    st.sampled_from([0.001, 0.013, 0.05]),
)
def test_a_camera_that_asks_for_less_than_its_part_loses_nothing_and_waits_two_batches_at_most(
    rates: list[float], picture: float
) -> None:
    world, cameras = watch(rates, picture)
    whole_batch = 0.002 + BATCH * picture
    part = BATCH / whole_batch / len(rates)  # frames a second, if all asked for as much
    for camera, rate in zip(cameras, rates, strict=True):
        assert world.order[camera.name] == sorted(world.order[camera.name])
        assert len(world.order[camera.name]) + camera.dropped == int(END * rate)
        if rate <= 0.9 * part:
            assert camera.dropped == 0
            assert max(world.waits[camera.name]) <= 2 * whole_batch + 1e-9


def test_at_120_frames_a_second_one_camera_does_not_starve_one_at_5() -> None:
    world, (fast, slow) = watch([120, 5], picture=0.02)  # the machine bears 49 a second
    assert fast.dropped > 50
    assert slow.dropped == 0
    assert max(world.waits["c1"]) < 0.33


def test_cameras_that_all_ask_for_too_much_get_the_same() -> None:
    world, cameras = watch([30] * 21, picture=0.013)  # more of them than a batch holds
    judged = [len(world.order[camera.name]) for camera in cameras]
    assert max(judged) - min(judged) <= 2
    turns = [name for at, name in world.turns if 1 < at < 2.5]
    assert len(turns) > 100
    for start in range(len(turns) - 21):
        assert len({*turns[start : start + 21]}) == 21  # nobody is served again before all others were


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(1, 100), min_size=1, max_size=5), st.sampled_from([0.0005, 0.005, 0.04]))
def test_the_judge_never_waits_while_work_does_and_a_batch_holds_all_that_waits(
    rates: list[float], picture: float
) -> None:
    world, cameras = watch(rates, picture)
    arrivals = np.array([index / rate for rate in rates for index in range(int(END * rate))])
    free, judged = 0.0, 0
    for began, size, done in world.batches:
        # It begins the moment it is free, or else the moment a frame comes.
        assert began == free or began in arrivals
        assert not np.any((arrivals > free) & (arrivals < began))
        if not any(camera.dropped for camera in cameras):
            assert size == min(BATCH, np.sum(arrivals <= began) - judged)
        free, judged = done, judged + size
