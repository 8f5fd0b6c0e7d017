"""The reporter: every flagged frame leaves as an event, with heat where there is some and time for it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest

from monitor.pipeline.judge import Flagged, View
from monitor.pipeline.report import Explaining, Reporter
from monitor.records import Box, Finding, Frame, Heat, Image, Verdict
from tests.pipeline.test_judge import Notes

INPUT = 64
Explain = Callable[[Image, Any], tuple[Heat, float]]


def flagged(number: int = 0, *, boxes: tuple[Box, ...] = (Box(0, 0, 128, 128),)) -> Flagged:
    image: Image = np.full((128, 128, 3), 90, np.uint8)
    frame = Frame("c", number, datetime.now(UTC), 0.0, image, boxes, image[None, :INPUT, :INPUT])
    picture: Image = np.zeros((INPUT, INPUT, 3), np.uint8)
    views = tuple(View(box, picture, 0.9, index) for index, box in enumerate(boxes))
    return Flagged(frame, Verdict("defect", 0.9, 0.5), views, None, {"queue": 0.001})


def hot_corner(picture: Image, activations: Any) -> tuple[Heat, float]:
    heat: Heat = np.zeros((8, 8), np.float32)
    heat[1:3, 5:7] = 1
    return heat, 3.0


class Outlet:
    """Where findings arrive."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.pictures: list[bytes] = []
        self.raw: list[bytes | None] = []

    def __call__(self, finding: Finding, _: Flagged, jpeg: bytes, raw: bytes | None) -> None:
        self.findings.append(finding)
        self.pictures.append(jpeg)
        self.raw.append(raw)


def reporter(
    outlet: Outlet, explain: Explain | None = hot_corner, waiting: int = 4, **rules: Any
) -> tuple[Reporter, Notes]:
    notes = Notes()
    explaining = Explaining(
        explain=explain,
        max_n=10,
        threshold=0.5,
        minimum_area=rules.pop("minimum_area", 0.0005),
        input_size=(INPUT, INPUT),
        cell_offset=(3.5, 3.5),
        **rules,
    )
    return Reporter(explaining, outlet, notes, waiting=waiting), notes


def test_heat_becomes_a_box_in_the_frames_own_pixels() -> None:
    outlet = Outlet()
    report, notes = reporter(outlet)
    report.report(flagged())
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
    def at_the_border(picture: Image, index: Any) -> tuple[Heat, float]:
        heat: Heat = np.zeros((8, 8), np.float32)
        heat[3:5, (7 if index == 0 else 0)] = 1
        return heat, 1.0

    outlet = Outlet()
    reporter(outlet, at_the_border)[0].report(flagged(boxes=(Box(0, 0, 64, 128), Box(64, 0, 128, 128))))
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
    explain: Explain | None, rules: dict[str, Any], outcome: str, said: str
) -> None:
    outlet = Outlet()
    report, notes = reporter(outlet, explain, **rules)
    report.report(flagged())
    (finding,) = outlet.findings
    assert not finding.regions
    assert said in (finding.explanation.reason or "")
    assert notes.stages[outcome] == 1


def test_in_a_burst_heat_gives_way_and_no_flagged_frame_does() -> None:
    outlet, go = Outlet(), threading.Event()

    def slow(picture: Image, activations: Any) -> tuple[Heat, float]:
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


def test_in_a_hurry_events_go_out_without_heat() -> None:
    outlet = Outlet()
    report, _ = reporter(outlet)
    report.hurry()
    report.report(flagged())
    assert outlet.findings[0].explanation.outcome == "skipped"


def test_the_pictures_are_the_annotated_frame_and_on_request_the_raw_one() -> None:
    outlet = Outlet()
    reporter(outlet, raw_frames=True)[0].report(flagged())
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

    outlet = Outlet()
    reports, notes = reporter(outlet)
    reports._publish = refused
    with pytest.raises(OSError, match="not kept"):
        reports.report(flagged())
    assert not notes.frames
    reports._publish = outlet
    reports.report(flagged())
    assert notes.frames == {("c", "defect"): 1}
