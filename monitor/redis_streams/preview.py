"""Live frames for people: a small JPEG of each camera in Redis, while somebody watches.

Nobody waits for a preview. A camera leaves its frame in a mailbox with room for one; a thread of its own
encodes and stores it. Without a watcher, or without Redis, a frame costs one comparison. The thread has the
daemon's priority: one of a lower priority would hold up verdicts while it is suspended with Python's lock.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2

from monitor.errors import DeliveryError, ImageError
from monitor.imaging.jpeg import encode_jpeg
from monitor.records import Image
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.telemetry.supervised_thread import SupervisedThread

logger = logging.getLogger(__name__)


_POLL_INTERVAL = 1.0
"""Seconds between two questions whether somebody watches."""


_MIN_TTL = 5.0
"""Seconds that a preview lives, if the rate does not need more."""


_JPEG_QUALITY = 75


@dataclass(frozen=True, slots=True)
class Preview:
    """A small JPEG of a frame; `width` and `height` are those of the camera's own frame, in pixels."""

    jpeg: bytes
    frame_number: int
    captured_at: datetime
    width: int
    height: int

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> "Preview | None":
        """Read the hash of a preview; None if it has expired. Raises ValueError for anything else."""
        if not fields:
            return None
        try:
            return cls(
                jpeg=fields[b"jpeg"],
                frame_number=int(fields[b"frame_number"]),
                captured_at=datetime.fromisoformat(fields[b"captured_at"].decode()),
                width=int(fields[b"width"]),
                height=int(fields[b"height"]),
            )
        except KeyError as error:
            raise ValueError(f"a preview without the field {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Snapshot:
    image: Image
    number: int
    captured_at: datetime


class PreviewPublisher:
    """A `FrameViewer` that stores at most `rate` previews a second of each camera, below `prefix` at `url`.

    The longer side of a preview has at most `max_side` pixels. A `rate` of 0 switches previews off. Somebody
    watches while the key `watching` exists. A preview expires after some seconds.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        rate: float = 2.0,
        max_side: int = 640,
        timeout: float = 1.0,
        access: RedisCredentials = NO_CREDENTIALS,
    ) -> None:
        self._keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self._keys, timeout=timeout, access=access)
        self._rate, self._max_side = rate, max_side
        self._ttl = max(_MIN_TTL, 3 / rate) if rate else _MIN_TTL
        self._script = Path(__file__).with_name("preview.lua").read_text(encoding="utf-8")
        self._watched = False
        self._next_due: dict[str, float] = {}
        self._mailbox: dict[str, _Snapshot] = {}  # setting and popping an item of a dict are atomic
        self._filled = threading.Event()
        self._end = False
        self._is_reachable = True
        self.encoded = 0
        self.last_heartbeat = time.monotonic()
        self.thread = SupervisedThread("preview", self, restart_after=1.0)

    def start(self) -> None:
        """Start to publish, unless the rate is 0."""
        if self._rate:
            self.thread.start()

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next request on; see `RedisConnection.set_access`."""
        self._server.set_access(url, access)

    def close(self) -> None:
        """Stop to publish; what is stored expires by itself."""
        self._end = True
        self._filled.set()

    def wants(self, camera: str) -> bool:
        """Return whether somebody watches and the next preview of `camera` is due."""
        return self._watched and time.monotonic() >= self._next_due.get(camera, 0.0)

    def show(self, camera: str, number: int, captured_at: datetime, image: Image) -> None:
        """Leave a frame for publication, if one is wanted. It is held until it is encoded, not copied."""
        if self.wants(camera):
            self._next_due[camera] = time.monotonic() + 1 / self._rate
            self._mailbox[camera] = _Snapshot(image, number, captured_at)
            self._filled.set()

    def run(self) -> None:
        """Publish until `close`; runs in `thread`."""
        while not self._end:
            self._ask()
            until = time.monotonic() + _POLL_INTERVAL
            while self._watched and not self._end and (left := until - time.monotonic()) > 0:
                self._filled.wait(left)
                self._filled.clear()
                self._publish_all()
            if not self._watched and not self._end:
                self._filled.wait(_POLL_INTERVAL)
            self.last_heartbeat = time.monotonic()
        self._server.close()

    def _publish_all(self) -> None:
        for camera in list(self._mailbox):
            if self._end or not self._watched:
                break
            self._publish(camera, self._mailbox.pop(camera))

    def _publish(self, camera: str, snapshot: _Snapshot) -> None:
        height, width = snapshot.image.shape[:2]
        number, captured_at = snapshot.number, snapshot.captured_at
        try:
            jpeg = encode_jpeg(_shrink(snapshot.image, self._max_side), _JPEG_QUALITY)
        except ImageError as error:
            logger.warning("preview not encoded", extra={"camera": camera, "why": str(error)})
            return
        finally:
            del snapshot  # gives the slot of the frame back before Redis may hang
        self.encoded += 1
        fields = {
            "jpeg": jpeg,
            "frame_number": number,
            "captured_at": captured_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "width": width,
            "height": height,
        }
        flat = [part for item in fields.items() for part in item]
        keys = [self._keys.preview(camera), self._keys.watching]
        self._execute("eval", self._script, len(keys), *keys, math.ceil(self._ttl), *flat)

    def _ask(self) -> None:
        self._execute("exists", self._keys.watching)

    def _execute(self, command: str, *arguments: Any) -> None:
        """Run a command that answers whether somebody watches; without an answer nobody does."""
        try:
            with self._server.translate_errors("publishing previews"):
                watched = bool(getattr(self._server.client, command)(*arguments))
        except DeliveryError as error:
            if error.permanent and self._is_reachable:  # the sender reports one that is only away
                logger.warning("previews are not published: %s", error)
            self._is_reachable, watched = False, False
        else:
            self._is_reachable = True
        self._watched = watched
        if not watched:
            self._mailbox.clear()


def _shrink(image: Image, max_side: int) -> Image:
    """Return `image` with its longer side at most `max_side` pixels."""
    height, width = image.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]  # uint8 as given
