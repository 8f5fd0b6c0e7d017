"""Small images: for the gallery, and the live frames of the Line view, shrunk once for all viewers."""

import cv2
import numpy as np

from monitor.imaging.jpeg import encode_jpeg
from monitor.redis_streams.history import StreamHistory

_SMALL, _QUALITY = 320, 75


class LiveFrames:
    """The latest live frame of each camera. Callable from any thread: two at once do the same work twice."""

    def __init__(self, history: StreamHistory) -> None:
        self._history = history
        self._latest: dict[str, tuple[int, bytes]] = {}

    def get(self, camera: str, number: int) -> bytes | None:
        """Return the frame `number` of a camera as a small JPEG, or a newer one; None if there is none."""
        latest = self._latest.get(camera)
        if latest is not None and latest[0] == number:
            return latest[1]
        found = self._history.live_frame(camera)
        if found is None:
            return None
        small = shrink(found.jpeg)
        self._latest[camera] = found.frame_number, small
        return small


def shrink(jpeg: bytes) -> bytes:
    """Return a JPEG of at most 320 pixels' width; the JPEG itself where it cannot be decoded."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape[1] <= _SMALL:
        return jpeg
    height = max(1, round(image.shape[0] * _SMALL / image.shape[1]))
    small = cv2.resize(image, (_SMALL, height), interpolation=cv2.INTER_AREA)
    return encode_jpeg(small.astype(np.uint8), _QUALITY)
