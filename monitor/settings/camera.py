"""The settings: every key with its default, its description and its check, in one place.

Only the composition root reads these; plain values go inward from there.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from monitor.capture.sources.address import parse_address
from monitor.settings.base import Name, Seconds, SettingsTable, Share, _validate_source


class SanitySettings(SettingsTable):
    """What a picture must be before it is judged. One that is not is `unusable`, with the reason: neither
    clean nor defect. The defaults are proved on DAGM's Class1 and on photographs of magnetic tiles."""

    enabled: bool = True
    """Without it every picture is judged, also a black one."""
    black: Annotated[float, Field(ge=-1, le=255)] = 20.0
    """Black: 99 % of the pixels are at this grey level (0..255) or below. -1: not looked at."""
    white: Annotated[float, Field(ge=0, le=256)] = 235.0
    """White: 99 % of the pixels are at this grey level or above. 256: not looked at."""
    uniform: Annotated[float, Field(ge=0, le=128)] = 2.0
    """Uniform: the standard deviation of all grey levels is below this. 0: not looked at."""
    saturated: Share = 0.75
    """Saturated: more than this share of the pixels is clipped (grey level 250 or above). Raise it where the
    background is lit from behind. 1: not looked at."""
    smeared: Share = 0.06
    """Smeared, as by a decoder that lost data: on more than this share of the picture each row equals the one
    above, bit by bit, and is not clipped. 1: not looked at."""
    blurred: Annotated[float, Field(ge=0, le=1)] = 0.065
    """Blurred: what changes over 2 pixels (of about 512 across) is less than this share of what changes over
    16, noise taken off. A ramp without any detail has 0.016. 0: not looked at; needed for a surface that is
    smooth by nature."""
    noise: Annotated[float, Field(ge=0, le=50)] = 8.0
    """Camera noise, a standard deviation in grey levels, up to which fine structure is taken for noise and
    not for sharpness."""
    torn: Annotated[float, Field(ge=0, le=1)] = 0.45
    """Torn: at one row, over the whole width, the picture goes on from the row above worse than usual by this
    share of the way to rows that have nothing in common. 0: not looked at. Surfaces whose rows never have
    anything in common, such as fine grain, hide it."""


class CameraSettings(SettingsTable):
    """One camera."""

    name: Name
    """Name in events, metrics and Redis keys: letters, digits, `_`, `.`, `-`; at most 64."""
    source: Annotated[str, AfterValidator(_validate_source)]
    """`0`, `/dev/video0`, `rtsp://…`, `rtsps://…`, a video file, a folder or glob of images, `simulate:`."""
    roi: tuple[int, int, int, int] | None = None
    """Part of the frame that is inspected: [x, y, width, height] in pixels. Default: the whole frame."""
    tiles: tuple[int, int] = (1, 1)
    """[rows, columns] of tiles that the inspected part is cut into, each a network input of its own."""
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of a tile's side by which neighbouring tiles overlap."""
    frames: Literal["auto", "every", "newest"] = "auto"
    """`every` inspects each frame and holds the source back; `newest` lets the oldest waiting frame give way,
    counted. `auto`: `newest` for live sources, `every` for files and folders."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames a second of a folder, a file or the simulation. Default: as fast as they are inspected
    (simulation: 15). Live sources keep their own rate."""
    loop: bool = False
    """Start a file or folder again when it ends."""
    watch: bool = False
    """Watch a folder or glob: inspect the files in it and each new one as soon as it is complete. Restarts do
    not inspect a file again unless it changed; which files were inspected is stored beside the outbox."""
    buffer: Annotated[int, Field(ge=1, le=1000)] = 8
    """Frames that may wait to be inspected."""
    max_age: Seconds | None = None
    """Seconds after which a frame that still waits is dropped, counted and said, rather than judged late."""
    silence: Annotated[float, Field(ge=0, le=86400)] = 3.0
    """Seconds without a frame after which a camera counts as stalled and is opened anew (at least three frame
    periods); 0 for a triggered camera, which may be silent as long as it likes."""
    frozen: Annotated[int, Field(ge=0)] | None = None
    """This many identical frames in a row mean a frozen camera, whose frames are not judged until one
    differs; 0: never. Default: 100 for devices and streams, never for files and the simulation."""
    expected_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames a second that a live camera should deliver; a camera that is too slow or too fast is said."""
    open_timeout: Seconds = 5.0
    """Seconds that opening a stream may take."""
    read_timeout: Seconds = 5.0
    """Seconds that a stream's next frame may take."""
    decode: Literal["auto", "software", "hardware"] = "software"
    """Where a stream is decoded. `auto` takes a device that decodes video where there is one, and says so;
    `hardware` refuses to go without."""
    sanity: SanitySettings | None = None
    """Limits of this camera alone, in place of the table `[sanity]`."""

    @model_validator(mode="after")
    def _sane(self) -> "CameraSettings":
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < 1):
            raise ValueError("roi must be [x, y, width, height] with x, y ≥ 0 and width, height ≥ 1")
        if min(self.tiles) < 1 or self.tiles[0] * self.tiles[1] > 256:
            raise ValueError("tiles must be [rows, columns] of at least 1 each and at most 256 together")
        if self.watch and parse_address(self.source).kind != "files":
            raise ValueError("watch is for a folder or glob of images, not for this source")
        if self.watch and self.loop:
            raise ValueError("watch inspects each file once and loop again and again: set one of them")
        return self

    @property
    def frozen_after(self) -> int:
        """Identical frames that are too many; 0: any number is fine."""
        if self.frozen is not None:
            return self.frozen
        return 100 if parse_address(self.source).kind in ("device", "stream") else 0

    @property
    def inspects_every_frame(self) -> bool:
        """Whether the source is held back rather than frames dropped."""
        return self.frames == "every" or (
            self.frames == "auto" and parse_address(self.source).kind == "files"
        )
