"""Turn a message of the capture process, and the slot of shared memory it names, into a frame or an image."""

from datetime import UTC, datetime, timedelta

from monitor.capture.messages import FrameLost, FrameReady
from monitor.capture.shared_memory import SharedBufferReader
from monitor.records import Box, Frame, Image

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_time(microseconds: int) -> datetime:
    """Return the time that is so many microseconds after the Unix epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


def frame_in_slot(
    message: FrameReady, ring: SharedBufferReader, camera: str, number: int, *, source_waits: bool
) -> Frame:
    """Return the frame of `message`; its arrays lie in the slot, which is released with the last of them."""
    memory = ring.view(message.slot)
    height, width = message.input_size
    boxes = tuple(Box(*box) for box in message.boxes)
    inputs = memory[message.inputs_offset :][: len(boxes) * height * width * 3]
    return Frame(
        camera,
        number,
        utc_time(message.captured_us),
        message.monotonic,
        memory[: message.height * message.width * 3].reshape(message.height, message.width, 3),
        boxes,
        inputs.reshape(len(boxes), height, width, 3),
        source_name=message.source_name,
        source_waits=source_waits,
        receipt=ring.receipt(message.receipt),
        captured_by=message.captured_by,
    )


def image_in_slot(message: FrameLost, ring: SharedBufferReader | None) -> Image | None:
    """Return the image of a frame that is not inspected; None if the process did not send it."""
    if message.slot is None or ring is None:
        return None
    memory = ring.view(message.slot)
    return memory[: message.height * message.width * 3].reshape(message.height, message.width, 3)
