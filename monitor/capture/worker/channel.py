"""The capture process's end of its connection to the daemon."""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from monitor.capture.config import Tiles
from monitor.capture.messages import (
    MAX_MESSAGE_BYTES,
    BufferMapped,
    FrameInspected,
    FrameLost,
    FrameReady,
    FrameTaken,
    ImageRequested,
    LostReason,
    SlotReleased,
    SourceFailed,
    SourceIdle,
    SourceOpened,
    WorkerMessage,
    decode,
    encode,
)
from monitor.capture.shared_memory import SharedBufferWriter
from monitor.capture.sources.base import NO_ORIGIN, FrameOrigin
from monitor.capture.worker.admission import AdmissionControl
from monitor.capture.worker.reader import CaptureTime
from monitor.records import Image

MAX_BUFFER_BYTES = 512 * 2**20
"""Most bytes of one camera's slots, but for the fewest slots that it works with."""


MIN_SLOTS = 4
"""One being written, one being classified, two on their way."""


_PATIENCE = 0.05
"""Seconds to wait for a slot: the daemon drops an older frame when none is free."""


_ALIGNMENT = 64


class DaemonChannel:
    """A `FrameChannel` over `connection` (Unix, SOCK_SEQPACKET), with frames in up to `slots` memory slots.

    `admission` chooses which frames of a live camera to drop; None drops no frame for which there is a slot.

    A closed sending side of the daemon tells it to stop, whether the daemon closed it or ended.
    Raises OSError from any call once the daemon is gone.
    """

    def __init__(
        self, connection: socket.socket, slots: int, admission: AdmissionControl | None = None
    ) -> None:
        self._connection = connection
        self._admission = admission
        self._slots = slots
        self._ring: SharedBufferWriter | None = None
        self._number = 0
        self._receipts: dict[int, Callable[[], None]] = {}  # of frames that the daemon has, by a number
        self._receipt = 0
        self._stopping = False
        self._image_requested = False

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait up to `seconds`; True, at once, when the reader is to stop."""
        until = time.monotonic() + max(0.0, seconds)
        self._receive(0.0)
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._receive(left)
        return self._stopping

    def wait_for_slot(self) -> bool:
        """Wait for a free slot; False when the reader is to stop."""
        self._receive(0.0)
        while not self._stopping and self._ring is not None and self._ring.free == 0:
            self._receive(None)
        return not self._stopping

    def admits(self, captured: float) -> bool:
        """Whether the daemon can classify a frame captured at `captured` (monotonic) in time."""
        if self._admission is None:
            return True
        self._receive(0.0)
        return self._admission.admit(captured)

    def send_opened(self, live: bool, interval: float | None) -> None:
        """The source is open."""
        self._send(SourceOpened(live, interval))

    def send_idle(self) -> None:
        """The source has no new frame."""
        self._send(SourceIdle())

    def send_failed(self, cause: str, detail: str) -> None:
        """The source cannot be opened or read."""
        self._send(SourceFailed(cause, detail))

    def send_frame(
        self,
        image: Image,
        views: Tiles,
        moment: CaptureTime,
        took: float,
        origin: FrameOrigin = NO_ORIGIN,
    ) -> None:
        """Put a frame with its network inputs into a slot; report it as lost if none is free."""
        boxes, inputs = views
        inputs_at = -(-image.nbytes // _ALIGNMENT) * _ALIGNMENT
        ring = self._buffer_for(inputs_at + inputs.nbytes)
        self._receive(0.0 if ring.free else _PATIENCE)
        if ring.free == 0:
            why = "the daemon holds all memory for frames"
            self.send_lost("overload", why, moment, took, origin=origin)
            return
        slot, memory = ring.acquire()
        if self._admission is not None:
            self._admission.sent((self._number, slot), moment.monotonic)
        np.copyto(memory[: image.nbytes].reshape(image.shape), image)
        np.copyto(memory[inputs_at : inputs_at + inputs.nbytes].reshape(inputs.shape), inputs)
        self._send(
            FrameReady(
                slot=slot,
                height=image.shape[0],
                width=image.shape[1],
                boxes=[[box.left, box.top, box.right, box.bottom] for box in boxes],
                inputs_offset=inputs_at,
                input_size=list(inputs.shape[1:3]),
                captured_us=_microseconds(moment.at),
                monotonic=moment.monotonic,
                took=took,
                source_name=origin.name,
                receipt=self._number_receipt(origin),
                captured_by=moment.by,
            )
        )

    def send_lost(
        self,
        cause: LostReason,
        why: str | None,
        moment: CaptureTime,
        took: float,
        *,
        since: datetime | None = None,
        frames: int = 1,
        origin: FrameOrigin = NO_ORIGIN,
        image: Image | None = None,
    ) -> None:
        """Report frames that are not inspected, and call the receipt of `origin`.

        `image` is the last of them; it is sent if the daemon has requested one and a slot is free.
        """
        since_us = None if since is None else _microseconds(since)
        at_us = _microseconds(moment.at)
        lost = FrameLost(cause, why, at_us, moment.monotonic, took, since_us, frames, origin.name)
        if image is not None and (slot := self._write_requested(image)) is not None:
            lost = replace(lost, slot=slot, height=image.shape[0], width=image.shape[1])
        self._send(lost)
        if origin.receipt is not None:
            origin.receipt()

    def _write_requested(self, image: Image) -> int | None:
        """Put an image that the daemon has requested into a slot; None without a request or a free slot."""
        if not self._image_requested:
            return None
        ring = self._buffer_for(image.nbytes)
        if ring.free == 0:
            return None
        self._image_requested = False
        slot, memory = ring.acquire()
        np.copyto(memory[: image.nbytes].reshape(image.shape), image)
        return slot

    def _number_receipt(self, origin: FrameOrigin) -> int | None:
        if origin.receipt is None:
            return None
        self._receipt += 1
        self._receipts[self._receipt] = origin.receipt
        return self._receipt

    def _buffer_for(self, size: int) -> SharedBufferWriter:
        """Memory whose slots hold `size` bytes; a larger frame than before gets new memory."""
        if self._ring is not None and size <= self._ring.size:
            return self._ring
        if self._ring is not None:
            self._ring.close()
        pages = -(-size // 4096) * 4096
        slots = min(self._slots, max(MIN_SLOTS, MAX_BUFFER_BYTES // pages))
        self._number += 1
        self._ring = SharedBufferWriter(slots, pages)
        self._send(BufferMapped(self._number, slots, pages), [self._ring.fd])
        self._ring.close()  # its mapping stays
        return self._ring

    def _receive(self, seconds: float | None) -> None:
        """Handle the daemon's messages; wait up to `seconds` (None: without limit) for the first one."""
        while not self._stopping:
            readable, _, _ = select.select([self._connection], [], [], seconds)
            if not readable:
                return
            packet = b""
            with contextlib.suppress(ConnectionError):
                packet = self._connection.recv(MAX_MESSAGE_BYTES)
            if not packet:
                self._stopping = True
                return
            message = decode(packet)
            if isinstance(message, FrameInspected):
                self._receipts.pop(message.receipt)()
            if isinstance(message, SlotReleased | FrameTaken) and self._admission is not None:
                self._admission.taken((message.ring, message.slot))
            if isinstance(message, ImageRequested):
                self._image_requested = True
            if isinstance(message, SlotReleased) and self._ring is not None and message.ring == self._number:
                self._ring.release(message.slot)
            seconds = 0.0

    def _send(self, message: WorkerMessage, descriptors: Sequence[int] = ()) -> None:
        socket.send_fds(self._connection, [encode(message)], list(descriptors))


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
