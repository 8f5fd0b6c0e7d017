"""Frames that are kept for learning, on their way to Redis.

No verdict waits for a sample. A frame is left in a mailbox with room for one frame of each group and camera;
a thread of its own encodes and stores it. What cannot be kept is dropped and counted.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import cv2
import numpy as np

from monitor.daemon.sample_selection import (
    Group,
    SampleSelector,
    SamplingRules,
    group_of,
    make_thumbnail,
)
from monitor.errors import DeliveryError
from monitor.events.event import Event, EventFamiliarity, EventModel, event_id, printable
from monitor.events.samples import Sample, SampleImage, SampleReason, SampleShadow
from monitor.inference.handle import ModelSpec
from monitor.models.novelty import NoveltyScore
from monitor.pipeline.interfaces import ClassifiedFrame
from monitor.records import Frame, Image, Verdict
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.sample_store import SampleStore
from monitor.telemetry.sample_metrics import SampleMetrics
from monitor.telemetry.supervised_thread import SupervisedThread

logger = logging.getLogger(__name__)

PINNED_FRAMES = 3
"""Frames of one camera that samples may hold: a clean one, a flagged one, and the one being encoded. A camera
with a shadow model has one more."""

_HEARTBEAT = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A frame in the mailbox. `build` makes its document, which is not worth the time of a verdict."""

    camera: str
    reason: SampleReason
    image: Image
    build: Callable[[], Sample]


class SampleRecorder:
    """Chooses frames by `rules` and keeps them in `store`.

    `on_clean`, `on_event` and `on_difference` are for any thread and never wait. `clock` is monotonic
    seconds.
    """

    def __init__(
        self,
        store: SampleStore,
        rules: SamplingRules,
        metrics: SampleMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._rules, self._metrics, self._clock = store, rules, metrics, clock
        self._selectors: dict[str, SampleSelector] = {}
        # Setting and popping an item of a dict are atomic.
        self._mailbox: dict[tuple[str, Group], _Kept] = {}
        self._filled = threading.Event()
        self._end = False
        self._is_reachable = True
        self.last_heartbeat = time.monotonic()
        self.thread = SupervisedThread("samples", self, restart_after=1.0)

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next sample on; see `RedisConnection.set_access`."""
        self._store.set_access(url, access)

    def on_clean(self, frame: Frame, verdict: Verdict, novelty: NoveltyScore | None, spec: ModelSpec) -> None:
        """Take a frame below the threshold. Its image is held until it is encoded, not copied."""
        choice = self._selector(frame.camera).choose(
            verdict.score,
            verdict.threshold,
            novelty is not None and novelty.is_novel,
            self._clock(),
            _today(),
        )
        if choice is None:
            return
        if choice.skipped is not None:
            self._metrics.skipped(frame.camera, choice.skipped)
            return
        classified = ClassifiedFrame(frame, verdict, novelty, spec)
        build = partial(self._describe, classified, choice.reason)
        self._leave(_Kept(frame.camera, choice.reason, frame.image, build))

    def on_event(self, event: Event, frame: Frame) -> None:
        """Take the frame of an event."""
        choice = self._selector(event.camera).choose_by_budget("flagged", _today())
        if choice.skipped is not None:
            self._metrics.skipped(event.camera, choice.skipped)
            return
        build = partial(Sample.of_event, event, self._store.keys.sample(event.id))
        self._leave(_Kept(event.camera, "flagged", frame.image, build))

    def on_difference(self, classified: ClassifiedFrame, verdict: Verdict, spec: ModelSpec) -> None:
        """Take a frame on which the shadow model of `spec` has another verdict."""
        frame = classified.frame
        choice = self._selector(frame.camera).choose_by_budget("shadow-differs", _today())
        if choice.skipped is not None:
            self._metrics.skipped(frame.camera, choice.skipped)
            return
        build = partial(self._describe, classified, choice.reason, (verdict, spec))
        self._leave(_Kept(frame.camera, choice.reason, frame.image, build))

    def start(self) -> None:
        """Start to keep frames."""
        self.thread.start()

    def close(self) -> None:
        """Stop to keep frames; those in the mailbox are dropped."""
        self._end = True
        self._filled.set()

    def run(self) -> None:
        """Keep frames until `close`; runs in `thread`."""
        while not self._end:
            self._filled.wait(_HEARTBEAT)
            self._filled.clear()
            for key in list(self._mailbox):
                if not self._end:
                    self._keep(key)
            self.last_heartbeat = time.monotonic()
        self._store.close()

    def _selector(self, camera: str) -> SampleSelector:
        return self._selectors.setdefault(camera, SampleSelector(self._rules))

    def _describe(
        self,
        classified: ClassifiedFrame,
        reason: SampleReason,
        shadow: tuple[Verdict, ModelSpec] | None = None,
    ) -> Sample:
        """Return the document of a frame. Raises ValueError where a figure is not finite."""
        frame, verdict, novelty = classified.frame, classified.verdict, classified.novelty
        identity = event_id(frame.camera, frame.captured_at, frame.number)
        height, width = frame.image.shape[:2]
        return Sample(
            id=identity,
            camera=frame.camera,
            frame_number=frame.number,
            captured_at=frame.captured_at,
            reason=reason,
            **_figures(verdict, classified.spec),
            familiarity=None
            if novelty is None
            else EventFamiliarity(
                distance=round(novelty.distance, 4), limit=novelty.limit, unfamiliar=novelty.is_novel
            ),
            image=SampleImage(width=width, height=height, png_key=self._store.keys.sample(identity)),
            source_name=frame.source_name and printable(frame.source_name),
            shadow=None if shadow is None else SampleShadow(**_figures(*shadow)),
        )

    def _leave(self, kept: _Kept) -> None:
        if self._mailbox.setdefault((kept.camera, group_of(kept.reason)), kept) is kept:
            self._filled.set()
        else:
            self._metrics.skipped(kept.camera, "queue-full")

    def _keep(self, key: tuple[str, Group]) -> None:
        """Encode and store the frame in the mailbox, which takes the next one meanwhile."""
        kept = self._mailbox.pop(key)
        camera, reason, selector = kept.camera, kept.reason, self._selector(kept.camera)
        if not selector.has_budget(reason, _today()):  # another was stored since this one was chosen
            self._metrics.skipped(camera, "budget")
            return
        thumbnail = make_thumbnail(kept.image)
        if selector.is_duplicate(thumbnail, group_of(reason)):
            self._metrics.skipped(camera, "duplicate")
            return
        try:
            sample = kept.build()
        except ValueError:
            logger.exception("frame not kept for learning", extra={"camera": camera})
            self._metrics.skipped(camera, "fault")
            return
        png = encode_png(kept.image)
        del kept  # gives the slot of the frame back before Redis may hang
        if not self._is_stored(sample, png):
            self._metrics.skipped(camera, "not-stored")
            return
        selector.count(reason, thumbnail)
        self._metrics.kept(camera, reason)

    def _is_stored(self, sample: Sample, png: bytes) -> bool:
        """Store a sample. Without Redis it is dropped: a sample is worth less than the room to queue it."""
        try:
            self._store.store(sample, png)
        except DeliveryError as error:
            if self._is_reachable:
                logger.warning("samples are dropped: %s", error)
            self._is_reachable = False
        else:
            if not self._is_reachable:
                logger.info("samples are stored again")
            self._is_reachable = True
        return self._is_reachable


def encode_png(image: Image) -> bytes:
    """Return `image` (h, w, 3) uint8 as a PNG file, which loses nothing; fast rather than small."""
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    return np.asarray(data).tobytes()


def _figures(verdict: Verdict, spec: ModelSpec) -> dict[str, Any]:
    """Return what a sample tells of a verdict and of the model of `spec` that gave it."""
    return {
        "score": round(min(1.0, max(0.0, verdict.score)), 6),
        "threshold": round(verdict.threshold, 6),
        "model": EventModel(name=spec.name, sha256=spec.sha256),
    }


def _today() -> date:
    return datetime.now(UTC).date()
