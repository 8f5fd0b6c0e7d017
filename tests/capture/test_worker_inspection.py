"""A real capture process tells pictures that show nothing, and those that repeat, from those to be judged."""

import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from monitor.capture.camera import Camera
from monitor.capture.sanity import Limits
from monitor.capture.worker import Order, launch
from monitor.records import Image
from monitor.settings.model import SanitySettings
from monitor.simulate.surface import SurfaceLine

from .test_camera import Listener

LIMITS = Limits(**SanitySettings().model_dump(exclude={"enabled"}))


def watch(folder: Path, pictures: list[Image], **order: object) -> Listener:
    """What a camera reports and hands out of these pictures."""
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    listener = Listener()
    wanted = Order(str(folder), every=True, reopen=False, input_size=(32, 32), slots=8, **order)
    camera = Camera("cam", partial(launch, "cam", wanted), every=True, finite=True, report=listener.report)
    taker = threading.Thread(target=listener.consume, args=(camera,))
    camera.start()
    taker.start()
    taker.join(60)
    assert camera.ended
    return listener


def test_a_picture_that_shows_nothing_is_unusable_with_the_reason(tmp_path: Path):
    good = SurfaceLine(1, 256, 192).picture
    black, smeared = np.zeros((192, 256, 3), np.uint8), good(3).copy()
    smeared[100:] = 128
    listener = watch(tmp_path, [good(0), black, good(1), smeared, good(2)], limits=LIMITS)
    assert [frame.number for frame in listener.taken] == [0, 2, 4]
    (gap,) = listener.gaps
    assert (gap.cause, gap.first, gap.last, gap.frames) == ("unusable", 1, 3, 2)
    assert (gap.detail or "").startswith("black: ")


def test_without_limits_every_picture_is_judged(tmp_path: Path):
    listener = watch(tmp_path, [np.zeros((192, 256, 3), np.uint8)] * 3)
    assert (len(listener.taken), listener.gaps) == (3, [])


def test_from_the_third_of_the_same_pictures_on_a_camera_is_frozen(tmp_path: Path):
    good = SurfaceLine(1, 256, 192).picture
    listener = watch(tmp_path, [good(0)] + [good(1)] * 5 + [good(2)], limits=LIMITS, frozen=3)
    assert [frame.number for frame in listener.taken] == [0, 1, 2, 6]
    assert [(gap.cause, gap.first, gap.last) for gap in listener.gaps] == [("frozen", 3, 5)]
    assert [state for state in listener.states() if state != "starting"] == [
        "up",
        "frozen frozen",
        "up",
        "ended",
    ]
