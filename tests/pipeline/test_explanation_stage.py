"""The explanation stage: every flagged frame leaves as an event with regions, refined where there is time."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import InferenceError
from monitor.inference.handle import CAM_METHOD, FLOOR_METHOD, CamHeat, Evidence, Proceed
from monitor.pipeline.explanation_stage import ExplanationConfig, ExplanationStage
from monitor.pipeline.flagged_queue import MAX_PINNED_FRAMES
from monitor.pipeline.interfaces import FlaggedFrame, FlaggedTile, ignore
from monitor.records import Box, Finding, Frame, Gap, Heatmap, Image, Verdict
from tests.support.fake_model import FakeModel, spec_of
from tests.support.recording import RecordingObserver

INPUT = 64


HeatOf = Callable[[Image, Any], tuple[Heatmap, float]]


def flagged(
    number: int = 0,
    *,
    boxes: tuple[Box, ...] = (Box(0, 0, 128, 128),),
    scores: tuple[float, ...] = (0.9, 0.9, 0.9, 0.9),
    at: float = 0.0,
    source_waits: bool = False,
    interval: float = 1e9,
) -> FlaggedFrame:
    """A flagged frame without a model; `reporter` has it explained by one of its own."""
    image: Image = np.full((128, 128, 3), 90, np.uint8)
    frame = Frame(
        "c",
        number,
        datetime.now(UTC),
        at,
        image,
        boxes,
        image[None, :INPUT, :INPUT],
        source_waits=source_waits,
    )
    tile: Image = np.zeros((INPUT, INPUT, 3), np.uint8)
    tiles = tuple(FlaggedTile(box, tile, scores[index], index) for index, box in enumerate(boxes))
    return FlaggedFrame(
        frame, FakeModel(), Verdict("defect", 0.9, 0.5), tiles, None, {"queue": 0.0}, interval
    )


def hot_corner(picture: Image, activations: Any) -> tuple[Heatmap, float]:
    heat: Heatmap = np.zeros((8, 8), np.float32)
    heat[1:3, 5:7] = 1
    return heat, 3.0


def in_steps(heat_of: HeatOf, clock: "Clock | None" = None, step: float = 0.0, maps: int = 10) -> Any:
    """An explanation of `maps` steps that take `step` seconds of `clock` each, above heat that takes none."""

    def explain(image: Image, evidence: Evidence | None, proceed: Proceed) -> CamHeat:
        scored = 0
        while scored < maps and proceed():
            scored += 1
            if clock is not None:
                clock.now += step
        heatmap, peak = heat_of(image, evidence)
        return (
            CamHeat(heatmap, peak, CAM_METHOD, scored)
            if scored
            else CamHeat(heatmap, peak, FLOOR_METHOD, maps)
        )

    return explain


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class RecordingPublisher:
    """Where findings arrive."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.pictures: list[bytes | None] = []
        self.raw: list[bytes | None] = []

    def __call__(self, finding: Finding, _: FlaggedFrame, jpeg: bytes | None, raw: bytes | None) -> None:
        self.findings.append(finding)
        self.pictures.append(jpeg)
        self.raw.append(raw)


class StageUnderTest(ExplanationStage):
    """The stage, with frames explained by `model`."""

    model: FakeModel

    def process(self, flagged: FlaggedFrame) -> None:
        super().process(replace(flagged, handle=self.model))


def reporter(
    outlet: RecordingPublisher,
    heat_of: HeatOf | None = hot_corner,
    waiting: int = 4,
    clock: Clock | None = None,
    step: float = 0.0,
    **rules: Any,
) -> tuple[ExplanationStage, RecordingObserver]:
    notes = RecordingObserver()
    gaps, queue_bytes = rules.pop("gaps", []), rules.pop("queue_bytes", 10**9)
    config = ExplanationConfig(enabled=heat_of is not None, queue_limit=waiting, **rules)
    stage = StageUnderTest(
        config, outlet, gaps.append, notes, queue_bytes=queue_bytes, clock=clock or Clock()
    )
    stage.model = FakeModel(spec_of(size=INPUT), explain=in_steps(heat_of or hot_corner, clock, step))
    return stage, notes


def test_heat_becomes_a_box_in_the_frames_own_pixels() -> None:
    outlet = RecordingPublisher()
    report, notes = reporter(outlet)
    report.process(flagged())
    (finding,) = outlet.findings
    (region,) = finding.regions
    # Cells 5..6 by 1..2 of 8, each 16 pixels of the frame, widened by half a cell of interpolation at most.
    assert abs(region.box.left - 80) <= 8
    assert abs(region.box.right - 112) <= 8
    assert abs(region.box.top - 16) <= 8
    assert abs(region.box.bottom - 48) <= 8
    assert finding.explanation.reason is None
    assert set(finding.latency) == {"queue", "wait", "explain", "locate", "annotate"}
    assert notes.stages["full"] == 1


def test_two_tiles_with_one_defect_on_their_border_give_one_region() -> None:
    def at_the_border(picture: Image, index: Any) -> tuple[Heatmap, float]:
        heat: Heatmap = np.zeros((8, 8), np.float32)
        heat[3:5, (7 if index == 0 else 0)] = 1
        return heat, 1.0

    outlet = RecordingPublisher()
    reporter(outlet, at_the_border)[0].process(flagged(boxes=(Box(0, 0, 64, 128), Box(64, 0, 128, 128))))
    (region,) = outlet.findings[0].regions
    assert region.box.left < 64 < region.box.right


@pytest.mark.parametrize(
    ("heat_of", "rules", "outcome", "said"),
    [
        (None, {}, "skipped", "switched off"),
        (lambda image, evidence: (np.zeros((8, 8), np.float32), 0.0), {}, "full", "flat, zero"),
        (hot_corner, {"minimum_area": 0.9}, "full", "smallest region"),
    ],
)
def test_without_a_region_the_event_goes_out_and_gives_the_reason(
    heat_of: HeatOf | None, rules: dict[str, Any], outcome: str, said: str
) -> None:
    outlet = RecordingPublisher()
    report, notes = reporter(outlet, heat_of, **rules)
    report.process(flagged())
    (finding,) = outlet.findings
    assert not finding.regions
    assert said in (finding.explanation.reason or "")
    assert notes.stages[outcome] == 1


def test_a_model_out_of_reach_leaves_an_event_without_regions_and_with_the_reason() -> None:
    def away(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
        raise InferenceError("pool-away", "the pool does not answer")

    outlet = RecordingPublisher()
    reporter(outlet, away)[0].process(flagged())
    (finding,) = outlet.findings
    assert finding.explanation.reason == "the pool does not answer"
    assert finding.explanation.outcome == "skipped"


def test_heat_that_the_model_cannot_refine_is_a_reduced_explanation() -> None:
    outlet = RecordingPublisher()
    report, notes = reporter(outlet)
    heat = CamHeat(*hot_corner(np.zeros(0), None), FLOOR_METHOD, 10)
    report.model = FakeModel(spec_of(size=INPUT), explain=lambda image, evidence, proceed: heat)
    report.process(flagged())
    assert outlet.findings[0].regions
    assert notes.stages["reduced"] == 1


def test_in_a_burst_every_event_has_a_box_and_heat_is_refined_only_where_there_is_time() -> None:
    outlet, go = RecordingPublisher(), threading.Event()

    def slow(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
        go.wait(10)
        return hot_corner(image, evidence)

    report, notes = reporter(outlet, slow, waiting=4)
    thread = threading.Thread(target=report.run)
    thread.start()
    for number in range(12):  # the queue holds 16: none of these waits for room
        report.put(flagged(number))
    go.set()
    report.close()
    thread.join(20)
    assert [finding.frame.number for finding in outlet.findings] == list(range(12))
    assert notes.stages["full"] + notes.stages["reduced"] == 12
    assert notes.stages["reduced"] >= 6
    assert all(finding.regions for finding in outlet.findings)


@pytest.mark.parametrize(
    ("interval", "budget", "maps"),
    [(1.0, 0.1, 10), (0.9, 0.1, 0), (0.9, 0.2, 10), (0.0, 0.99, 0), (0.0, 1.0, 10)],
)
def test_a_live_frame_is_refined_only_where_all_maps_fit_into_the_share_of_the_time_between_frames(
    interval: float, budget: float, maps: int
) -> None:
    outlet = RecordingPublisher()
    report, notes = reporter(outlet, budget=budget)
    report.process(flagged(interval=interval))  # the fake model needs 0.1 s for ten maps
    (finding,) = outlet.findings
    assert finding.regions
    assert finding.explanation.method == (CAM_METHOD if maps else FLOOR_METHOD)
    assert notes.stages["full" if maps else "reduced"] == 1
    report.process(flagged(interval=interval, boxes=(Box(0, 0, 64, 128), Box(64, 0, 128, 128))))
    each = outlet.findings[1].explanation
    assert (each.method == CAM_METHOD) == (budget == 1 or budget * interval >= 0.2), "two tiles take twice"


def test_where_the_source_waits_nothing_is_left_out() -> None:
    outlet, clock = RecordingPublisher(), Clock()
    report, notes = reporter(outlet, clock=clock, step=1.0, waiting=2, budget=0.1, deadline=1.0)
    for number in range(8):
        report.put(flagged(number, source_waits=True))
    report.close()
    report.run()
    assert notes.stages["full"] == 8
    assert all(finding.explanation.maps_used == 10 for finding in outlet.findings)


def test_an_explanation_that_would_be_late_is_broken_off_or_not_begun() -> None:
    outlet, clock = RecordingPublisher(), Clock()
    report, _ = reporter(outlet, clock=clock, step=0.1, deadline=1.0)
    clock.now = 0.75
    report.process(flagged(0))
    assert outlet.findings[0].explanation.maps_used == 3
    assert outlet.findings[0].explanation.outcome == "reduced"
    assert outlet.findings[0].regions
    clock.now = 1.0
    report.process(flagged(1))
    assert outlet.findings[1].explanation.method == FLOOR_METHOD
    assert outlet.findings[1].explanation.outcome == "reduced"
    assert outlet.findings[1].regions


def test_frames_that_wait_behind_others_have_pixels_of_their_own() -> None:
    outlet = RecordingPublisher()
    report, _ = reporter(outlet, waiting=100)
    frames = [flagged(number) for number in range(MAX_PINNED_FRAMES + 3)]
    for it in frames:
        report.put(it)
    for it in frames:  # what a camera does with its room once it is free again
        it.frame.image[:] = 0
        it.tiles[0].image[:] = 7
    report.close()
    report.run()
    kept = [finding.frame for finding in outlet.findings]
    assert [int(frame.image[0, 0, 0]) for frame in kept] == [0] * MAX_PINNED_FRAMES + [90] * 3
    assert [int(frame.tile_inputs[0, 0, 0, 0]) for frame in kept] == [0] * MAX_PINNED_FRAMES + [90] * 3


def test_while_the_daemon_stops_events_go_out_with_the_regions_that_cost_nothing() -> None:
    outlet = RecordingPublisher()
    report, _ = reporter(outlet)
    report.skip_explanations()
    for source_waits in (False, True):
        report.process(flagged(source_waits=source_waits))
    assert [finding.explanation.method for finding in outlet.findings] == [FLOOR_METHOD] * 2
    assert all(finding.explanation.outcome == "reduced" and finding.regions for finding in outlet.findings)


def test_a_defect_of_one_cell_counts_in_each_of_many_flagged_tiles() -> None:
    def one_cell(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
        heat: Heatmap = np.zeros((8, 8), np.float32)
        heat[4, 4] = 1
        return heat, 1.0

    boxes = tuple(Box(left, top, left + 32, top + 64) for top in (0, 64) for left in (0, 32, 64, 96))
    outlet = RecordingPublisher()
    reporter(outlet, one_cell, minimum_area=0.005)[0].process(flagged(boxes=boxes, scores=(0.9,) * 8))
    assert len(outlet.findings[0].regions) == 8


def test_regions_of_the_tile_with_the_highest_score_come_first() -> None:
    boxes = (Box(0, 0, 64, 64), Box(64, 0, 128, 64), Box(0, 64, 64, 128))
    outlet = RecordingPublisher()
    reporter(outlet)[0].process(flagged(boxes=boxes, scores=(0.7, 0.99, 0.8)))
    centres = [region.centroid for region in outlet.findings[0].regions]
    assert [(x > 64, y > 64) for x, y in centres] == [(True, False), (False, True), (False, False)]


def test_the_pictures_are_the_annotated_frame_and_on_request_the_raw_one() -> None:
    outlet = RecordingPublisher()
    reporter(outlet, raw_frames=True)[0].process(flagged())
    drawn = cv2.imdecode(np.frombuffer(outlet.pictures[0] or b"", np.uint8), cv2.IMREAD_COLOR)
    raw = cv2.imdecode(np.frombuffer(outlet.raw[0] or b"", np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert raw is not None
    assert raw.shape == (128, 128, 3)
    assert np.abs(raw.astype(int) - 90).max() <= 2
    assert drawn.shape[0] > 128  # the caption stands below the frame
    assert np.abs(drawn[:128].astype(int) - 90).max() > 50


class FailingPublisher(RecordingPublisher):
    """A publisher that fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self._failures = failures

    def __call__(self, *parts: Any) -> None:
        if self._failures:
            self._failures -= 1
            raise OSError("not stored")
        super().__call__(*parts)


def test_a_frame_whose_event_cannot_be_built_gets_a_bare_event() -> None:
    outlet, gaps = FailingPublisher(1), list[Gap]()
    stage, notes = reporter(outlet, gaps=gaps)
    stage.process(flagged())
    assert outlet.findings[0].regions == ()
    assert "OSError" in (outlet.findings[0].explanation.reason or "")
    assert notes.frames == {("c", "defect"): 1}
    assert not gaps


def test_a_frame_without_any_event_is_a_gap_that_names_the_verdict_and_the_next_one_goes_on() -> None:
    outlet, gaps = FailingPublisher(2), list[Gap]()
    stage, notes = reporter(outlet, gaps=gaps)
    for number in range(2):
        stage.put(flagged(number))
    stage.close()
    stage.run()
    assert [(gap.first, gap.last, gap.frames, gap.cause) for gap in gaps] == [(0, 0, 1, "fault")]
    assert "defect, score 0.900" in (gaps[0].detail or "")
    assert [finding.frame.number for finding in outlet.findings] == [1]
    assert notes.frames == {("c", "defect"): 1}  # counted only once its event was handed over


def broken_heat(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
    raise RuntimeError("the device is gone")


def heat_without_a_shape(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
    return np.zeros((0, 3), np.float32), 1.0


@pytest.mark.parametrize(
    ("heat_of", "reason"), [(broken_heat, "explaining failed"), (heat_without_a_shape, "locating failed")]
)
def test_where_explaining_or_locating_fails_the_event_goes_without_heat_and_says_why(
    heat_of: HeatOf, reason: str
) -> None:
    outlet, gaps = RecordingPublisher(), list[Gap]()
    stage, notes = reporter(outlet, heat_of, gaps=gaps)
    for number in range(3):
        stage.put(flagged(number))
    stage.close()
    stage.run()
    assert [finding.frame.number for finding in outlet.findings] == [0, 1, 2]
    assert all(reason in (finding.explanation.reason or "") for finding in outlet.findings)
    assert notes.stages["skipped"] == 3
    assert all(outlet.pictures)
    assert not gaps


def test_where_annotating_fails_the_event_goes_without_an_image() -> None:
    outlet = RecordingPublisher()
    stage, _ = reporter(outlet, jpeg_quality="high", raw_frames=True)
    stage.process(flagged())
    assert (outlet.pictures, outlet.raw) == ([None], [None])
    assert outlet.findings[0].regions


def test_flagged_frames_that_nobody_will_publish_become_gaps() -> None:
    outlet, gaps = RecordingPublisher(), list[Gap]()
    stage, _ = reporter(outlet, gaps=gaps)
    for number in range(3):
        stage.put(flagged(number))
    stage.drop_queued("fault")
    stage.put(flagged(3))
    assert [(gap.first, gap.cause) for gap in gaps] == [
        (0, "fault"),
        (1, "fault"),
        (2, "fault"),
        (3, "stopping"),
    ]
    stage.run()
    assert not outlet.findings


def test_a_frame_in_hand_is_either_published_or_a_gap() -> None:
    outlet, gaps, go = RecordingPublisher(), list[Gap](), threading.Event()

    def hanging(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
        go.wait(10)
        return hot_corner(image, evidence)

    stage, _ = reporter(outlet, hanging, gaps=gaps)
    thread = threading.Thread(target=stage.run)
    thread.start()
    stage.put(flagged(7))
    while stage.queued:
        pass
    stage.drop_queued("stopping")
    go.set()
    thread.join(10)
    assert [gap.first for gap in gaps] == [7]
    assert not outlet.findings


def test_queued_frames_are_bounded_in_bytes_and_the_stage_shows_progress_while_it_blocks() -> None:
    outlet, go, beats = RecordingPublisher(), threading.Event(), list[int]()

    def slow(image: Image, evidence: Evidence | None) -> tuple[Heatmap, float]:
        go.wait(10)
        return hot_corner(image, evidence)

    size = flagged().nbytes
    stage, _ = reporter(outlet, slow, waiting=1000, queue_bytes=3 * size)
    explaining = threading.Thread(target=stage.run)
    explaining.start()
    putting = threading.Thread(
        target=lambda: [stage.put(flagged(number), lambda: beats.append(1)) for number in range(9)]
    )
    putting.start()
    putting.join(1.5)
    assert putting.is_alive()
    assert stage.queued == 3
    assert beats
    go.set()
    putting.join(10)
    stage.close()
    explaining.join(10)
    assert [finding.frame.number for finding in outlet.findings] == list(range(9))


class SteppingClock(Clock):
    """A clock whose every reading is later than the one before."""

    def __init__(self, steps: list[float]) -> None:
        super().__init__()
        self._steps = steps

    def __call__(self) -> float:
        self.now += self._steps[0]
        self._steps = [*self._steps[1:], self._steps[0]]
        return self.now


@given(st.lists(st.floats(0, 5), min_size=1, max_size=12), st.integers(1, 6))
def test_the_stages_of_an_event_add_up_to_the_time_since_its_capture(steps: list[float], count: int) -> None:
    clock = SteppingClock(steps)
    handed_over: list[tuple[float, Finding]] = []

    def publish(finding: Finding, *_: object) -> None:
        handed_over.append((clock.now, finding))

    stage = StageUnderTest(
        ExplanationConfig(queue_limit=100), publish, ignore, RecordingObserver(), clock=clock
    )
    stage.model = FakeModel(spec_of(size=INPUT), explain=in_steps(hot_corner))
    for number in range(count):
        at = clock.now
        stage.put(replace(flagged(number, at=at), latency={"queue": clock() - at, "classify": 0.0}))
    stage.close()
    stage.run()
    assert len(handed_over) == count
    for at, finding in handed_over:
        assert sum(finding.latency.values()) == pytest.approx(at - finding.frame.monotonic, abs=1e-3)
        assert all(seconds >= 0 for seconds in finding.latency.values())
