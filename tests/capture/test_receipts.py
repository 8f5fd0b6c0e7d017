"""A frame of a watched file counts as inspected when the daemon is done with it, not earlier."""

import gc
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from monitor.capture.sources.base import FileSource, FrameOrigin, NoFrameYet
from monitor.errors import ImageError
from monitor.records import Image
from tests.support.scripted_camera import ScriptedSource, make, wait_for

FRAME = np.zeros((2, 2, 3), np.uint8)


class NamedSource(ScriptedSource):
    """A script of (name, image or error); afterwards nothing new comes."""

    def __init__(self, steps: list[tuple[str, Image | Exception]]) -> None:
        super().__init__([], live=True)
        self.origin = FrameOrigin()
        self.inspected: list[str] = []
        self._named = iter(steps)

    def read(self) -> Image | None:
        name, step = next(self._named, ("", NoFrameYet(0.01)))
        if name:
            self.origin = FrameOrigin(name, lambda: self.inspected.append(name))
        if isinstance(step, Exception):
            raise step
        return step


def test_a_receipt_is_given_when_the_last_copy_of_the_frame_is_gone():
    source = NamedSource([("a", FRAME), ("b", ImageError("damaged")), ("c", FRAME)])
    assert isinstance(source, FileSource)
    camera, listener = make(lambda: source)
    camera.start()
    taken = []

    def take() -> bool:
        taken.extend(camera.take(1))
        return len(taken) == 2

    wait_for(take)
    assert [frame.source_name for frame in taken] == ["a", "c"]
    wait_for(lambda: source.inspected == ["b"])  # reported as unreadable: nothing else will come of it
    first, second = taken
    # As the explanation's queue does, so that the shared memory is free: the frame is still in work.
    copy = replace(first, image=first.image.copy(), tile_inputs=first.tile_inputs.copy())
    taken.clear()
    del first, second
    gc.collect()
    wait_for(lambda: source.inspected == ["b", "c"])
    del copy
    wait_for(lambda: source.inspected == ["b", "c", "a"])
    assert camera.stop(10)
    assert listener.states() == ["starting", "up", "ended"]


def test_a_source_without_a_new_file_is_up():
    camera, listener = make(lambda: NamedSource([]))
    before = datetime.now(UTC)
    camera.start()
    wait_for(lambda: listener.states() == ["starting", "up"])
    assert camera.stop(10)
    assert listener.gaps == []
    assert listener.changes[1].at >= before


def test_what_is_dropped_at_a_stop_gets_no_receipt():
    source = NamedSource([("a", FRAME), ("b", FRAME)])
    camera, listener = make(lambda: source)
    camera.start()
    wait_for(lambda: camera.queued == 2)
    assert camera.stop(10)
    camera.drop_queued()
    gc.collect()
    assert source.inspected == []
    assert [(gap.cause, gap.frames) for gap in listener.gaps] == [("stopping", 2)]
