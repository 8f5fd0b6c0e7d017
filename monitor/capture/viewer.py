"""What a camera needs of the part that shows its frames to people."""

from datetime import datetime
from typing import Protocol

from monitor.records import Image


class FrameViewer(Protocol):
    """Shows frames while somebody watches. Both methods return at once and never fail, from any thread."""

    def wants(self, camera: str) -> bool:
        """Return whether the next frame of `camera` would be shown."""

    def show(self, camera: str, number: int, captured_at: datetime, image: Image) -> None:
        """Show a frame (height, width, 3) uint8, inspected or not, if one is wanted; may keep `image`."""


class NoViewer:
    """A `FrameViewer` for a camera whose frames nobody sees."""

    def wants(self, camera: str) -> bool:
        """Return that no frame is wanted."""
        return False

    def show(self, camera: str, number: int, captured_at: datetime, image: Image) -> None:
        """Ignore the frame."""
