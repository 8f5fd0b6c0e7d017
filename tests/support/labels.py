"""Samples and labels to publish."""

import base64
import itertools
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import cv2
import numpy as np

from monitor.events.event import EventFamiliarity, EventModel, event_id
from monitor.events.labels import Answer, Label, LabelBox, LabelSubject
from monitor.events.samples import Sample, SampleImage, SampleReason
from tests.support.events import BEGIN

_NUMBERS = itertools.count(1)


def make_sample(
    number: int = 0, camera: str = "top", reason: SampleReason = "random", score: float = 0.1
) -> Sample:
    captured_at = BEGIN + timedelta(milliseconds=40 * number)
    identity = event_id(camera, captured_at, number)
    return Sample(
        id=identity,
        camera=camera,
        frame_number=number,
        captured_at=captured_at,
        reason=reason,
        score=score,
        threshold=0.5,
        familiarity=EventFamiliarity(distance=1.5, limit=3.0, unfamiliar=False),
        model=EventModel(name="dagm-class1", sha256="a" * 64),
        image=SampleImage(width=64, height=48, png_key=f"defects:sample:{identity}"),
        source_name="a.png",
    )


def make_png(width: int = 64, height: int = 48, shade: int = 128) -> bytes:
    done, data = cv2.imencode(".png", np.full((height, width, 3), shade, np.uint8))
    assert done
    return bytes(data)


def make_mask(width: int, height: int) -> str:
    done, data = cv2.imencode(".png", np.full((height, width), 255, np.uint8))
    assert done
    return base64.b64encode(data).decode()


def make_label(
    answer: Answer | None,
    *,
    frame: str = "top-20261123T040506000789Z-0",
    author: str = "ann",
    seconds: float = 0.0,
    defect_kind: str | None = None,
    boxes: Sequence[tuple[int, int, int, int]] = (),
    mask_png: str | None = None,
    withdraws: str | None = None,
) -> Label:
    return Label(
        id=str(UUID(int=next(_NUMBERS))),
        subject=LabelSubject(kind="event", id=frame),
        camera="top",
        answer=answer,
        defect_kind=defect_kind,
        boxes=tuple(LabelBox(x=x, y=y, width=width, height=height) for x, y, width, height in boxes),
        mask_png=mask_png,
        author=author,
        labelled_at=BEGIN + timedelta(seconds=seconds),
        model_sha256="a" * 64,
        withdraws=withdraws,
    )
