"""Frames that people see: those that are inspected, and on request those that are not."""

import threading
from datetime import datetime

import numpy as np

from monitor.capture.worker.reader import FrameChecks
from monitor.errors import UsageError
from monitor.records import Image
from tests.support.scripted_camera import ScriptedSource, make, wait_for, whole

BLACK = np.zeros((2, 3, 3), np.uint8)
GREY = np.full((2, 3, 3), 120, np.uint8)
SANITY = FrameChecks(whole, unusable_reason=lambda image: None if image.any() else "black")


class Viewer:
    """Keeps what it is shown, as copies; wants frames until it has `limit` of them."""

    def __init__(self, limit: int = 1000) -> None:
        self.shown: list[tuple[int, datetime, Image]] = []
        self.asked = 0
        self._limit = limit

    def wants(self, camera: str) -> bool:
        assert camera == "cam"
        self.asked += 1
        return len(self.shown) < self._limit

    def show(self, camera: str, number: int, captured_at: datetime, image: Image) -> None:
        if self.wants(camera):
            self.shown.append((number, captured_at, image.copy()))

    def numbers(self) -> list[int]:
        return [number for number, _, _ in self.shown]


def test_each_inspected_frame_is_shown_with_its_number() -> None:
    viewer = Viewer()
    camera, listener = make(lambda: ScriptedSource([GREY, BLACK, GREY]), viewer=viewer)
    camera.start(7)
    listener.consume(camera)
    assert viewer.numbers() == [frame.number for frame in listener.taken] == [7, 8, 9]
    assert [at for _, at, _ in viewer.shown] == [frame.captured_at for frame in listener.taken]
    assert np.array_equal(viewer.shown[0][2], GREY)


def test_frames_that_are_dropped_are_shown_too() -> None:
    viewer = Viewer()
    camera, listener = make(lambda: ScriptedSource([GREY] * 6, live=False), "newest", buffer=2, viewer=viewer)
    camera.start()
    wait_for(lambda: len(viewer.shown) == 6)
    listener.consume(camera)
    assert listener.lost() == 4
    assert viewer.numbers() == list(range(6))


def test_an_unusable_frame_is_shown_on_request_with_its_number() -> None:
    viewer = Viewer()
    steps = [part for _ in range(10) for part in (BLACK, 0.02)]
    camera, listener = make(lambda: ScriptedSource(steps), inspection=SANITY, viewer=viewer)
    camera.start()
    listener.consume(camera)
    assert listener.lost() == 10
    assert viewer.shown, "no unusable frame was shown"
    assert all(number >= 1 for number in viewer.numbers()), "the first one came before the request"
    times = {number: at for number, at, _ in viewer.shown}
    (gap,) = listener.gaps
    assert (gap.cause, gap.first, gap.last) == ("unusable", 0, 9)
    assert all(gap.started_at < at <= gap.ended_at for at in times.values())
    assert all(np.array_equal(image, BLACK) for _, _, image in viewer.shown)


def test_a_frame_that_does_not_fit_the_settings_is_shown_before_any_other() -> None:
    def misfit(image: Image) -> object:
        raise UsageError("the region of interest does not lie within the frame")

    viewer = Viewer()
    steps = [part for _ in range(10) for part in (GREY, 0.02)]
    camera, listener = make(lambda: ScriptedSource(steps), inspection=FrameChecks(misfit), viewer=viewer)
    camera.start()
    listener.consume(camera)
    assert listener.lost() == 10
    assert np.array_equal(viewer.shown[0][2], GREY)


def test_without_a_viewer_that_wants_it_no_unusable_frame_is_sent() -> None:
    viewer = Viewer(limit=0)
    taken = threading.Event()
    camera, listener = make(
        lambda: ScriptedSource([BLACK] * 10),
        inspection=SANITY,
        viewer=viewer,
        on_frame_read=lambda _: taken.set(),
    )
    camera.start()
    listener.consume(camera)
    assert listener.lost() == 10
    assert viewer.asked == 10
    assert viewer.shown == []


def test_unusable_frames_between_others_are_numbered_as_their_gap() -> None:
    viewer = Viewer()
    steps = [part for _ in range(8) for part in (GREY, BLACK, 0.02)]
    camera, listener = make(lambda: ScriptedSource(steps), inspection=SANITY, viewer=viewer)
    camera.start()
    listener.consume(camera)
    black = [number for number, _, image in viewer.shown if not image.any()]
    lost = {
        number for gap in listener.gaps for first, last in gap.numbers for number in range(first, last + 1)
    }
    assert black
    assert set(black) <= lost == set(range(1, 16, 2))
    assert [number for number in viewer.numbers() if number % 2 == 0] == list(range(0, 16, 2))
