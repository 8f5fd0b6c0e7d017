"""The inference stage: every frame of every camera gets a verdict, or is reported with the reason."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.errors import InferenceError
from monitor.inference.handle import Classification
from monitor.inference.router import ModelRouter
from monitor.models.novelty import NoveltyScore
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import FlaggedFrame, ignore
from monitor.pipeline.nominal_period import NominalPeriod
from monitor.records import Box, Frame, Gap
from tests.support.fake_model import SIZE, FakeModel, classification, spec_of
from tests.support.recording import RecordingObserver, frame


@dataclass
class FakeCamera:
    """Hands over frames whose brightness says what the network will answer."""

    name: str
    waiting: list[Frame]
    source_waits: bool = False

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
    verdicts: list[tuple[str, int, float]]
    clean: list[tuple[str, int, float | None]] = field(default_factory=list)


class OutOfReach(FakeModel):
    def classify(
        self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> Classification:
        raise InferenceError("pool-away", "the pool at host:1 does not answer")


def run(
    cameras: list[FakeCamera],
    *,
    batch: int = 4,
    router: ModelRouter | None = None,
    score: Callable[[float], float] = lambda brightness: brightness / 255,
    clock: Callable[[], float] = time.monotonic,
) -> Run:
    done = Run([], [], [], RecordingObserver(), [])

    def classify(inputs: NDArray[np.uint8]) -> Classification:
        done.batches.append(len(inputs))
        means = [float(mean) for mean in inputs.mean(axis=(1, 2, 3))]
        return classification([score(mean) for mean in means], [NoveltyScore(mean, 200.0) for mean in means])

    stage = InferenceStage(
        router or ModelRouter(FakeModel(classify=classify)),
        lambda flagged, _: done.flagged.append(flagged),
        done.gaps.append,
        done.notes,
        batch=batch,
        on_clean=lambda frame, _, novelty, __: done.clean.append(
            (frame.camera, frame.number, novelty and novelty.distance)
        ),
        on_verdict=lambda frame, verdict: done.verdicts.append((frame.camera, frame.number, verdict.score)),
        clock=clock,
    )
    for camera in cameras:
        stage.add_camera(camera)
    stage.close()
    stage.run()
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
    assert sorted(done.clean) == [
        (f"c{index}", number, float(value))
        for index, values in enumerate(brightness)
        for number, value in enumerate(values)
        if (f"c{index}", number) not in wanted
    ]
    assert sorted(done.verdicts) == [
        (f"c{index}", number, float(np.float32(value / 255)))
        for index, values in enumerate(brightness)
        for number, value in enumerate(values)
    ]
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
    assert [tile.box for tile in flagged.tiles] == [Box(0, SIZE, SIZE, 2 * SIZE)]
    assert flagged.tiles[0].evidence == 2


def test_a_score_that_is_no_number_is_neither_clean_nor_a_defect() -> None:
    frames = [frame("c", 0, 0), frame("c", 1, 255)]
    done = run([FakeCamera("c", frames)], score=lambda mean: float("nan") if mean < 1 else 1.0)
    assert [(gap.first, gap.cause) for gap in done.gaps] == [(0, "unusable")]
    assert [it.frame.number for it in done.flagged] == [1]
    assert not done.notes.frames


def test_each_camera_is_classified_by_its_own_model_at_its_own_size_and_threshold() -> None:
    strict = FakeModel(spec_of("strict", threshold=0.9))
    large = FakeModel(spec_of("large", size=2 * SIZE, threshold=0.1))
    cameras = [FakeCamera(name, [frame(name, 0, 200)]) for name in ("a", "b", "c")]
    done = run(cameras, router=ModelRouter(strict, {"b": large, "c": FakeModel()}))
    assert [(it.frame.camera, it.handle.spec.name) for it in done.flagged] == [("b", "large"), ("c", "fake")]
    assert done.flagged[0].verdict.threshold == 0.1
    assert done.flagged[0].tiles[0].image.shape == (2 * SIZE, 2 * SIZE, 3)  # cut again from the frame
    assert sum(done.notes.frames.values()) == 1


def test_cameras_with_one_model_share_its_batches_though_their_thresholds_differ() -> None:
    batches: list[list[float] | None] = []

    class Shared(FakeModel):
        def classify(
            self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
        ) -> Classification:
            batches.append(None if thresholds is None else thresholds.tolist())
            return super().classify(inputs)

    cameras = [FakeCamera(name, [frame(name, 0, 200)]) for name in ("a", "b", "c")]
    done = run(cameras, router=ModelRouter(Shared(), thresholds={"b": 0.9, "c": 0.7}, recipe="cups"))
    assert batches == [[0.5, 0.9, 0.7]]
    assert [(it.frame.camera, it.verdict.threshold) for it in done.flagged] == [("a", 0.5), ("c", 0.7)]
    assert {it.recipe for it in done.flagged} == {"cups"}


def test_a_batch_that_was_taken_before_the_models_change_is_classified_by_the_model_before() -> None:
    old, new = FakeModel(spec_of("old")), FakeModel(spec_of("new"))
    router = ModelRouter(old)

    class Switching(FakeCamera):
        def take(self, limit: int) -> list[Frame]:
            taken = super().take(limit)
            router.adopt(ModelRouter(new))
            return taken

    done = run([Switching("c", [frame("c", number, 255) for number in range(2)])], batch=1, router=router)
    assert [(it.frame.number, it.handle.spec.name) for it in done.flagged] == [(0, "old"), (1, "new")]


def test_frames_of_a_model_out_of_reach_are_reported_with_its_cause_and_others_get_their_verdict() -> None:
    cameras = [FakeCamera(name, [frame(name, 0, 200)]) for name in ("a", "b")]
    done = run(cameras, router=ModelRouter(FakeModel(), {"b": OutOfReach()}))
    assert [(gap.camera, gap.cause, gap.frames) for gap in done.gaps] == [("b", "pool-away", 1)]
    assert [it.frame.camera for it in done.flagged] == ["a"]


def test_while_explanations_are_behind_only_sources_that_wait_are_held_back() -> None:
    live = FakeCamera("live", [frame("live", number, 0) for number in range(8)])
    archive = FakeCamera("archive", [frame("archive", number, 0) for number in range(8)], source_waits=True)
    taken: list[str] = []

    def classify(inputs: NDArray[np.uint8]) -> Classification:
        taken.append("archive" if len(archive.waiting) < 8 else "live")
        return classification([0.0] * len(inputs))

    stage = InferenceStage(
        ModelRouter(FakeModel(classify=classify)),
        ignore,
        ignore,
        RecordingObserver(),
        batch=4,
        is_backlogged=lambda: bool(live.waiting),
    )
    for camera in (archive, live):
        stage.add_camera(camera)
    stage.close()
    stage.run()
    assert taken == ["live", "live", "archive", "archive"]


def test_where_a_larger_pass_saves_no_time_each_frame_is_classified_at_once() -> None:
    cameras = [FakeCamera(name, [frame(name, number, 0) for number in range(3)]) for name in ("a", "b")]
    sizes: list[int] = []

    def classify(inputs: NDArray[np.uint8]) -> Classification:
        sizes.append(len(inputs))
        return classification([0.0] * len(inputs))

    model = FakeModel(classify=classify)
    for efficient, expected in ((1, [1] * 6), (2, [2] * 3)):
        sizes.clear()
        model.efficient_batch = efficient
        done = run([replace(camera) for camera in cameras], batch=4, router=ModelRouter(model))
        assert sizes == expected
        assert done.notes.order == ["a", "b"] * 3
    sizes.clear()
    run([FakeCamera("c", [frame("c", number, 0) for number in range(6)], True)], router=ModelRouter(model))
    assert sizes == [4, 2], "nobody waits for the verdicts of an archive"


def test_a_flagged_frame_knows_the_time_between_the_frames_of_all_live_cameras() -> None:
    live = [
        FakeCamera(name, [replace(frame(name, number, 255), monotonic=number / fps) for number in range(9)])
        for name, fps in (("a", 10), ("b", 30))
    ]
    archive = [replace(frame("c", number, 0), monotonic=0.0, source_waits=True) for number in range(9)]
    done = run([*live, FakeCamera("c", archive)], clock=lambda: 1.0)
    assert done.flagged[0].frame_interval == 0, "not known at first"
    assert done.flagged[-1].frame_interval == pytest.approx(1 / 40)


def test_a_surface_beyond_the_limit_is_marked_unfamiliar() -> None:
    done = run([FakeCamera("c", [frame("c", 0, 190), frame("c", 1, 210)])])
    assert [it.novelty is not None and it.novelty.is_novel for it in done.flagged] == [False, True]
    assert done.notes.unfamiliar == [210]


def stage_of(model: FakeModel, gaps: list[Gap] | None = None) -> InferenceStage:
    return InferenceStage(
        ModelRouter(model),
        ignore,
        ignore if gaps is None else gaps.append,
        RecordingObserver(),
        batch=4,
    )


def test_without_any_camera_the_stage_goes_on_until_it_is_closed() -> None:
    stage = stage_of(FakeModel())
    first = FakeCamera("only", [frame("only", 0, 0)])
    stage.add_camera(first)
    thread = threading.Thread(target=stage.run, daemon=True)
    thread.start()
    wait_until(lambda: not first.waiting)
    thread.join(0.5)  # a reload has removed the only camera, and adds the next one
    assert thread.is_alive()
    second = FakeCamera("only", [frame("only", 1, 0)])
    stage.add_camera(second)
    wait_until(lambda: not second.waiting)
    stage.close()
    thread.join(5)
    assert not thread.is_alive()


@given(st.integers(0, 3))
def test_each_frame_in_hand_is_a_gap_or_has_an_outcome_when_classification_fails(fails_at: int) -> None:
    gaps: list[Gap] = []
    observed = RecordingObserver()
    flagged: list[int] = []

    def hand_over(it: FlaggedFrame, _: object) -> None:
        if len(flagged) == fails_at:
            raise RuntimeError("no memory")
        flagged.append(it.frame.number)

    stage = InferenceStage(ModelRouter(FakeModel()), hand_over, gaps.append, observed, batch=8)
    frames = [frame("c", number, 255 if number % 2 else 0) for number in range(8)]
    with pytest.raises(RuntimeError):
        stage.process(frames)
    assert {gap.cause for gap in gaps} == {"fault"}
    assert len(gaps) + len(flagged) + observed.frames["c", "clean"] == 8
    assert not {gap.first for gap in gaps} & set(flagged)


def test_when_the_network_fails_every_frame_of_the_batch_is_a_gap() -> None:
    def fail(inputs: NDArray[np.uint8]) -> Classification:
        raise RuntimeError("the device is gone")

    gaps: list[Gap] = []
    stage = stage_of(FakeModel(classify=fail), gaps=gaps)
    with pytest.raises(RuntimeError):
        stage.process([frame("c", number, 0) for number in range(3)])
    assert [(gap.first, gap.frames, gap.cause) for gap in gaps] == [
        (0, 1, "fault"),
        (1, 1, "fault"),
        (2, 1, "fault"),
    ]
    assert "the device is gone" in (gaps[0].detail or "")


@pytest.mark.parametrize(("seconds", "late"), [(0.052, 0), (0.08, 7)])
@pytest.mark.parametrize("source_waits", [False, True])
def test_a_verdict_is_late_when_it_takes_longer_than_the_frame_period(
    seconds: float, late: int, source_waits: bool
) -> None:
    now = [0.0]
    frames = [
        replace(frame("c", number, 0), monotonic=number / 15, source_waits=source_waits)
        for number in range(10)
    ]

    class Paced(FakeCamera):
        def take(self, limit: int) -> list[Frame]:
            taken = super().take(limit)
            if taken:
                now[0] = taken[0].monotonic + seconds
            return taken

    done = run([Paced("c", frames)], batch=1, clock=lambda: now[0])
    assert done.notes.late["c"] == (0 if source_waits else late)  # three periods must be known first


@given(st.lists(st.integers(1, 5), min_size=4, max_size=40), st.floats(0.005, 2))
def test_the_period_is_that_of_the_camera_also_where_frames_were_dropped(
    steps: list[int], period: float
) -> None:
    learnt, number = NominalPeriod(), 0
    learnt.observe(0, 0.0)
    for step in steps:
        number += step
        learnt.observe(number, number * period)
    assert learnt.seconds == pytest.approx(period)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def test_a_flagged_frame_is_labelled_with_the_kind_of_its_highest_tile() -> None:
    def classify(inputs: NDArray[np.uint8]) -> Classification:
        scores = [float(mean) / 255 for mean in inputs.mean(axis=(1, 2, 3))]
        kinds = [f"kind {score:.1f}" if score >= 0.5 else None for score in scores]
        return classification(scores)._replace(kinds=kinds)

    frames = [frame("c", number, value) for number, value in enumerate((10, 153, 230))]
    done = run([FakeCamera("c", frames)], router=ModelRouter(FakeModel(classify=classify)))
    assert [flagged.verdict.label for flagged in done.flagged] == ["kind 0.6", "kind 0.9"]
