"""The reporter: every flagged frame leaves as an event, with heat where there is some and time for it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest

from monitor.inference.handle import Explain, Proceed
from monitor.pipeline.explanation_stage import MAX_PINNED_FRAMES, ExplanationConfig, ExplanationStage
from monitor.pipeline.interfaces import FlaggedFrame, FlaggedTile
from monitor.records import Box, Finding, Frame, Heatmap, Image, Verdict
from tests.support.recording import RecordingObserver

INPUT = 64


Whole = Callable[[Image, Any], tuple[Heatmap, float]]


def flagged(
    number: int = 0, *, boxes: tuple[Box, ...] = (Box(0, 0, 128, 128),), at: float = 0.0
) -> FlaggedFrame:
    image: Image = np.full((128, 128, 3), 90, np.uint8)
    frame = Frame("c", number, datetime.now(UTC), at, image, boxes, image[None, :INPUT, :INPUT])
    picture: Image = np.zeros((INPUT, INPUT, 3), np.uint8)
    views = tuple(FlaggedTile(box, picture, 0.9, index) for index, box in enumerate(boxes))
    return FlaggedFrame(frame, Verdict("defect", 0.9, 0.5), views, None, {"queue": 0.001})


def hot_corner(picture: Image, activations: Any) -> tuple[Heatmap, float]:
    heat: Heatmap = np.zeros((8, 8), np.float32)
    heat[1:3, 5:7] = 1
    return heat, 3.0


def in_steps(heat: Whole, clock: "Clock | None" = None, step: float = 0.0, maps: int = 10) -> Explain:
    """An explanation of `maps` steps that take `step` seconds of `clock` each."""

    def explain(picture: Image, activations: Any, go_on: Proceed) -> tuple[Heatmap, float, int]:
        weighed, going = 0, go_on(0, 0.0)
        while going and weighed < maps:
            weighed += 1
            if clock is not None:
                clock.now += step
            going = go_on(weighed, step)
        return (*heat(picture, activations), weighed) if weighed else (np.zeros((8, 8), np.float32), 0.0, 0)

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
        self.pictures: list[bytes] = []
        self.raw: list[bytes | None] = []

    def __call__(self, finding: Finding, _: FlaggedFrame, jpeg: bytes, raw: bytes | None) -> None:
        self.findings.append(finding)
        self.pictures.append(jpeg)
        self.raw.append(raw)


def reporter(
    outlet: RecordingPublisher,
    explain: Whole | None = hot_corner,
    waiting: int = 4,
    clock: Clock | None = None,
    step: float = 0.0,
    **rules: Any,
) -> tuple[ExplanationStage, RecordingObserver]:
    notes = RecordingObserver()
    explaining = ExplanationConfig(
        explain=None if explain is None else in_steps(explain, clock, step),
        max_n=10,
        threshold=0.5,
        minimum_area=rules.pop("minimum_area", 0.0005),
        input_size=(INPUT, INPUT),
        cell_offset=(3.5, 3.5),
        **rules,
    )
    return ExplanationStage(explaining, outlet, notes, queue_limit=waiting, clock=clock or Clock()), notes


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
    assert set(finding.latency) == {"queue", "explain", "locate", "annotate"}
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
    ("explain", "rules", "outcome", "said"),
    [
        (None, {}, "skipped", "switched off"),
        (lambda picture, activations: (np.zeros((8, 8), np.float32), 0.0), {}, "full", "flat, zero"),
        (hot_corner, {"minimum_area": 0.9}, "full", "smallest region"),
    ],
)
def test_without_a_place_the_event_goes_out_and_says_why(
    explain: Whole | None, rules: dict[str, Any], outcome: str, said: str
) -> None:
    outlet = RecordingPublisher()
    report, notes = reporter(outlet, explain, **rules)
    report.process(flagged())
    (finding,) = outlet.findings
    assert not finding.regions
    assert said in (finding.explanation.reason or "")
    assert notes.stages[outcome] == 1


def test_in_a_burst_heat_gives_way_and_no_flagged_frame_does() -> None:
    outlet, go = RecordingPublisher(), threading.Event()

    def slow(picture: Image, activations: Any) -> tuple[Heatmap, float]:
        go.wait(10)
        return hot_corner(picture, activations)

    report, notes = reporter(outlet, slow, waiting=4)
    thread = threading.Thread(target=report.run)
    thread.start()
    for number in range(12):  # the queue holds 16: none of these waits for room
        report.put(flagged(number))
    go.set()
    report.close()
    thread.join(20)
    assert [finding.frame.number for finding in outlet.findings] == list(range(12))
    assert notes.stages["full"] + notes.stages["skipped"] == 12
    assert notes.stages["skipped"] >= 6
    assert {finding.explanation.reason for finding in outlet.findings if not finding.regions} == {
        "more than 4 flagged frames are waiting"
    }


def test_a_burst_gets_fewer_maps_first_and_then_none_and_each_event_says_so() -> None:
    outlet, clock = RecordingPublisher(), Clock()
    report, notes = reporter(outlet, clock=clock, step=0.02, waiting=1000, budget=0.3, deadline=1e9)
    for number in range(300):  # 30 a second for ten seconds
        clock.now = max(clock.now, number / 30)
        report.process(flagged(number, at=number / 30))
    outcomes = [finding.explanation.outcome for finding in outlet.findings]
    assert len(outcomes) == 300
    assert outcomes[0] == "full"
    assert {"full", "reduced", "skipped"} == set(outcomes)
    assert notes.stages["full"] + notes.stages["reduced"] + notes.stages["skipped"] == 300
    # What a burst may use at once, its share of the burst, and one step.
    assert 0.02 * sum(it.explanation.maps_used for it in outlet.findings) <= 0.3 * (10 + clock.now) + 0.02
    for finding in outlet.findings:
        explanation = finding.explanation
        assert (explanation.maps_used == 10) == (explanation.outcome == "full")
        assert (explanation.maps_used == 0) == (explanation.outcome == "skipped") == (not finding.regions)
        assert ("share of the time" in (explanation.reason or "")) == (explanation.outcome == "skipped")


def test_what_waits_shares_the_time_so_that_maps_give_way_before_frames_do() -> None:
    outlet, clock = RecordingPublisher(), Clock()
    report, _ = reporter(outlet, clock=clock, step=0.1, waiting=100, budget=0.3, deadline=1e9)
    for number in range(20):
        report.put(flagged(number))
    report.close()
    report.run()
    assert all(finding.explanation.maps_used >= 1 for finding in outlet.findings)
    assert min(finding.explanation.maps_used for finding in outlet.findings) < 3


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
    assert outlet.findings[1].explanation.outcome == "skipped"
    assert outlet.findings[1].explanation.reason == "the event would come too late"


def test_the_tiles_of_a_frame_share_its_time() -> None:
    outlet, clock = RecordingPublisher(), Clock()
    report, _ = reporter(outlet, clock=clock, step=0.1, budget=0.1)  # a second to spend: ten maps of twenty
    report.process(flagged(boxes=(Box(0, 0, 64, 128), Box(64, 0, 128, 128))))
    (finding,) = outlet.findings
    assert len(finding.explanation.tile_heatmaps) == 2
    assert finding.explanation.outcome == "reduced"


def test_frames_that_wait_behind_others_have_pixels_of_their_own() -> None:
    outlet = RecordingPublisher()
    report, _ = reporter(outlet, waiting=100)
    frames = [flagged(number) for number in range(MAX_PINNED_FRAMES + 3)]
    for it in frames:
        report.put(it)
    for it in frames:  # what a camera does with its room once it is free again
        it.frame.image[:] = 0
        it.views[0].picture[:] = 7
    report.close()
    report.run()
    kept = [finding.frame for finding in outlet.findings]
    assert [int(frame.image[0, 0, 0]) for frame in kept] == [0] * MAX_PINNED_FRAMES + [90] * 3
    assert [int(frame.tile_inputs[0, 0, 0, 0]) for frame in kept] == [0] * MAX_PINNED_FRAMES + [90] * 3


def test_in_a_hurry_events_go_out_without_heat() -> None:
    outlet = RecordingPublisher()
    report, _ = reporter(outlet)
    report.skip_explanations()
    report.process(flagged())
    assert outlet.findings[0].explanation.outcome == "skipped"


def test_the_pictures_are_the_annotated_frame_and_on_request_the_raw_one() -> None:
    outlet = RecordingPublisher()
    reporter(outlet, raw_frames=True)[0].process(flagged())
    drawn = cv2.imdecode(np.frombuffer(outlet.pictures[0], np.uint8), cv2.IMREAD_COLOR)
    raw = cv2.imdecode(np.frombuffer(outlet.raw[0] or b"", np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None
    assert raw is not None
    assert raw.shape == (128, 128, 3)
    assert np.abs(raw.astype(int) - 90).max() <= 2
    assert drawn.shape[0] > 128  # the caption stands below the frame
    assert np.abs(drawn[:128].astype(int) - 90).max() > 50


def test_a_frame_counts_as_a_defect_only_once_its_event_was_handed_over() -> None:
    def refused(*_: object) -> None:
        raise OSError("not kept")

    outlet = RecordingPublisher()
    reports, notes = reporter(outlet)
    reports._publish = refused
    with pytest.raises(OSError, match="not kept"):
        reports.process(flagged())
    assert not notes.frames
    reports._publish = outlet
    reports.process(flagged())
    assert notes.frames == {("c", "defect"): 1}
