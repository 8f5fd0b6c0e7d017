"""A real capture process tells pictures that show nothing, and those that repeat, from those to be judged."""

import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from monitor.capture.camera import Camera
from monitor.capture.config import CaptureConfig
from monitor.capture.image_checks import QualityLimits
from monitor.capture.supervisor import spawn_worker
from monitor.records import Image
from monitor.settings.camera import SanitySettings
from monitor.simulate.surface import SurfaceGenerator
from tests.support.scripted_camera import RecordingListener

LIMITS = QualityLimits(**SanitySettings().model_dump(exclude={"enabled"}))


def watch(folder: Path, pictures: list[Image], **order: object) -> RecordingListener:
    """What a camera reports and hands out of these pictures."""
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    listener = RecordingListener()
    wanted = CaptureConfig(
        str(folder), every=True, reopen=False, input_size=(32, 32), buffer_slots=8, **order
    )
    camera = Camera(
        "cam",
        partial(spawn_worker, "cam", wanted),
        keep_every_frame=True,
        finite=True,
        report=listener.report,
    )
    taker = threading.Thread(target=listener.consume, args=(camera,))
    camera.start()
    taker.start()
    taker.join(60)
    assert camera.ended
    return listener


def test_a_picture_that_shows_nothing_is_unusable_with_the_reason(tmp_path: Path):
    good = SurfaceGenerator(1, 256, 192).picture
    black, smeared = np.zeros((192, 256, 3), np.uint8), good(3).copy()
    smeared[100:] = 128
    listener = watch(tmp_path, [good(0), black, good(1), smeared, good(2)], limits=LIMITS)
    assert [frame.number for frame in listener.taken] == [0, 2, 4]
    (gap,) = listener.gaps
    assert (gap.cause, gap.first, gap.last, gap.frames) == ("unusable", 1, 3, 2)
    assert "black: " in (gap.detail or "")


def test_without_limits_every_picture_is_judged(tmp_path: Path):
    listener = watch(tmp_path, [np.zeros((192, 256, 3), np.uint8)] * 3)
    assert (len(listener.taken), listener.gaps) == (3, [])


def test_from_the_third_of_the_same_pictures_on_a_camera_is_frozen(tmp_path: Path):
    good = SurfaceGenerator(1, 256, 192).picture
    listener = watch(tmp_path, [good(0)] + [good(1)] * 5 + [good(2)], limits=LIMITS, frozen_after=3)
    assert [frame.number for frame in listener.taken] == [0, 1, 2, 6]
    assert [(gap.cause, gap.first, gap.last) for gap in listener.gaps] == [("frozen", 3, 5)]
    assert [state for state in listener.states() if state != "starting"] == [
        "up",
        "frozen frozen",
        "up",
        "ended",
    ]


def test_pictures_may_change_their_size_from_one_to_the_next(tmp_path: Path):
    line = SurfaceGenerator(1, 512, 512)
    sizes = [(192, 256), (64, 64), (512, 512), (100, 300), (192, 256)]
    pictures = [line.picture(number)[:height, :width] for number, (height, width) in enumerate(sizes)]
    listener = watch(tmp_path, pictures, tiles=(1, 2))
    assert len(listener.taken) == 5
    assert [frame.tile_boxes[-1].right for frame in listener.taken] == [width for _, width in sizes]
    assert listener.gaps == []


def test_a_picture_too_small_for_the_part_that_is_inspected_is_misconfigured(tmp_path: Path):
    line = SurfaceGenerator(1, 256, 192)
    pictures = [line.picture(0), line.picture(1)[:64, :64], line.picture(2)]
    listener = watch(tmp_path, pictures, roi=(100, 100, 200, 180))
    assert [frame.number for frame in listener.taken] == [0, 2]
    (gap,) = listener.gaps
    assert (gap.cause, gap.first) == ("misconfigured", 1)
    assert "does not lie within the camera's 64x64 frame" in (gap.detail or "")
