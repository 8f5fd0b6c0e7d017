"""Define the settings of one camera: every key with its default, description and validation.

Only the bootstrap reads these settings; other modules receive plain values.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from monitor.capture.sources.address import parse_address, with_login
from monitor.errors import SourceError
from monitor.settings.base import Name, Seconds, SettingsTable, Share, _validate_source

PixelCount = Annotated[int, Field(ge=1, le=65_535)]


def _validate_roi(roi: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    if min(roi[:2]) < 0 or min(roi[2:]) < 1:
        raise ValueError("must be [x, y, width, height] with x, y ≥ 0 and width, height ≥ 1")
    return roi


def _validate_tiles(tiles: tuple[int, int]) -> tuple[int, int]:
    if min(tiles) < 1 or tiles[0] * tiles[1] > 256:
        raise ValueError("must be [rows, columns] of at least 1 each and at most 256 together")
    return tiles


Roi = Annotated[tuple[int, int, int, int], AfterValidator(_validate_roi)]


Tiles = Annotated[tuple[int, int], AfterValidator(_validate_tiles)]


Overlap = Annotated[float, Field(ge=0, le=0.5)]


class SanitySettings(SettingsTable):
    """Limits within which a frame is classified. A frame beyond them is `unusable`, with the reason: neither
    clean nor defect. The defaults were tested on DAGM's Class1 and on photographs of magnetic tiles."""

    enabled: bool = True
    """Check frames before classification. If false, every frame is classified, even a black one."""
    black: Annotated[float, Field(ge=-1, le=255)] = 20.0
    """Black: 99 % of the pixels are at this grey level (0..255, default 20) or below. -1: not checked."""
    white: Annotated[float, Field(ge=0, le=256)] = 235.0
    """White: 99 % of the pixels are at this grey level (0..255, default 235) or above. 256: not checked."""
    uniform: Annotated[float, Field(ge=0, le=128)] = 2.0
    """Uniform: the standard deviation of all pixels, in grey levels, is below this (default 2). 0: not
    checked."""
    saturated: Share = 0.75
    """Saturated: more than this fraction of the pixels is clipped (grey level 250 or above). Default 0.75.
    Raise it for a backlit scene. 1: not checked."""
    smeared: Share = 0.06
    """Smeared, for example by a decoder that lost data: on more than this fraction of the frame (default
    0.06), each row equals the row above bit by bit and is not clipped. 1: not checked."""
    blurred: Annotated[float, Field(ge=0, le=1)] = 0.065
    """Blurred: the variation over 2 pixels (of about 512 across) is less than this fraction (default 0.065)
    of that over 16 pixels, after subtracting noise. A ramp without detail has 0.016. 0: not checked; use 0
    for a surface that is naturally smooth."""
    noise: Annotated[float, Field(ge=0, le=50)] = 8.0
    """Camera noise as a standard deviation in grey levels (default 8). Fine structure up to this level counts
    as noise, not as sharpness."""
    torn: Annotated[float, Field(ge=0, le=1)] = 0.45
    """Torn: at one row, over the whole width, the difference to the row above exceeds the usual difference by
    this fraction (default 0.45) of the way to the difference of unrelated rows. 0: not checked. On surfaces
    whose neighbouring rows are unrelated, such as fine grain, it cannot be detected."""


class CameraSettings(SettingsTable):
    """One camera."""

    name: Name
    """Name in events, metrics and Redis keys: letters, digits, `_`, `.`, `-`; at most 64."""
    source: Annotated[str, AfterValidator(_validate_source)]
    """`0`, `/dev/video0`, `rtsp://…`, `rtsps://…`, Motion JPEG at `http://…` or `https://…`, a video file, a
    folder or glob of images, `simulate:`."""
    username: str | None = None
    """User of an RTSP or HTTP camera."""
    password: SecretStr | None = None
    """Password of an RTSP or HTTP camera, without any encoding. Prefer `${NAME}` to plain text."""
    transport: Literal["auto", "tcp", "udp"] = "auto"
    """Transport of an RTSP camera. `auto` (default): TCP, or UDP if the camera refuses TCP. UDP loses packets
    on a busy network; frames with losses are not inspected."""
    expected_size: tuple[PixelCount, PixelCount] | None = None
    """[width, height] in pixels that each frame must have, after `rotate`. Default: any size. A camera with
    another size is `misconfigured` and its frames are not inspected, because `roi` would cover another
    area."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees by which each frame is rotated clockwise (default 0), in addition to the rotation that the file
    or stream declares."""
    bit_depth: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits that the values of a 16-bit image file or stream use, such as 12. Default: as the file declares,
    else 16; a file that declares nothing and uses at most 14 bits is `unusable`."""
    size: tuple[PixelCount, PixelCount] | None = None
    """[width, height] in pixels to request from a device. Default: its current setting. `doctor` lists the
    sizes that the device offers."""
    format: Annotated[str, Field(pattern=r"^[ -~]{4}$")] | None = None
    """Pixel format to request from a device, four characters such as `MJPG` or `YUYV`. Default: its current
    one."""
    exposure: Annotated[float, Field(ge=0)] | None = None
    """Exposure of a device in the units of its driver (often 0.1 ms); disables automatic exposure. Default:
    unchanged."""
    gain: Annotated[float, Field(ge=0)] | None = None
    """Gain of a device in the units of its driver. Default: unchanged."""
    roi: Roi | None = None
    """Part of the frame that is inspected: [x, y, width, height] in pixels. Default: the whole frame."""
    tiles: Tiles = (1, 1)
    """[rows, columns] of tiles into which the inspected part is divided; each tile is one network input.
    Default: [1, 1]."""
    overlap: Overlap = 0.0
    """Fraction of a tile's side (0..0.5, default 0) by which neighbouring tiles overlap."""
    model: str | None = None
    """Folder of a model bundle, or the name of a shipped one. Default: `model.path`. Cameras with the same
    model share its memory and its batches."""
    threshold: Share | None = None
    """Score (0..1) from which a frame of this camera is flagged. Default: `model.threshold`, or with a model
    of its own the bundle's."""
    shadow: str | None = None
    """Model, as in `model`, that classifies a share of the frames as well, without effect on verdicts: frames
    on which its verdict differs become samples. Needs `samples.publish`. Default: none."""
    explain: bool | None = None
    """Explain flagged frames of this camera. Default: `explain.enabled`."""
    frames: Literal["auto", "every", "newest"] = "auto"
    """`every` inspects each frame and makes the source wait; `newest` drops and counts frames that cannot be
    inspected in time. `auto` (default): `newest` for live sources, `every` for files and folders."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames per second of a folder, a file or the simulation, or to request from a device. Default: as fast
    as they are inspected (simulation: 15). Streams determine their own rate."""
    loop: bool = False
    """Restart a file or folder when it ends (default false)."""
    watch: bool = False
    """Watch a folder or glob: inspect its files and each new file as soon as it is complete. After a restart,
    only new and changed files are inspected; the list of inspected files is stored beside the outbox."""
    buffer: Annotated[int, Field(ge=1, le=1000)] = 8
    """Maximum number of frames queued for inspection (default 8)."""
    max_age: Seconds | None = None
    """Seconds after which a queued frame is dropped and reported instead of inspected late. Default: four
    frame periods, which are measured, but at least 0.1; no limit for `every` and for a triggered camera."""
    silence: Annotated[float, Field(ge=0, le=86400)] = 3.0
    """Seconds without a frame after which a camera counts as stalled and is reopened (default 3), but at
    least three frame periods, which are measured. 0: no limit, for a triggered camera."""
    frozen: Annotated[int, Field(ge=0)] | None = None
    """Number of identical frames in a row after which a camera counts as frozen; its frames are not inspected
    until one differs. 0: never. Default: 100 for devices and streams, never for files and the simulation."""
    expected_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames per second that a live camera should deliver. Default: not checked. The camera is reported as
    `slow` or `fast` when its rate is off by more than 30 %."""
    open_timeout: Seconds = 5.0
    """Seconds that opening a stream may take, up to its second frame (default 5). Raise it for a triggered
    stream."""
    read_timeout: Seconds = 5.0
    """Seconds that a stream's next frame may take (default 5), but at least three frame periods. No effect
    with `silence = 0`."""
    decode: Literal["auto", "software", "hardware"] = "software"
    """How a stream is decoded (default `software`). `auto` uses a hardware decoder if there is one, and logs
    it; `hardware` rejects a stream that no hardware decoder supports."""
    sanity: SanitySettings | None = None
    """Limits of this camera; replaces the table `[sanity]`."""

    @model_validator(mode="after")
    def _check(self) -> "CameraSettings":
        self._check_login()
        if self.watch and parse_address(self.source).kind != "files":
            raise ValueError("watch is for a folder or glob of images, not for this source")
        if self.watch and self.loop:
            raise ValueError("watch inspects each file once and loop again and again: set one of them")
        return self

    def _check_login(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: set both, or neither")
        try:
            _ = self.address
        except SourceError as error:
            raise ValueError(str(error)) from None

    @property
    def address(self) -> str:
        """The source with user and password; treat it as a secret."""
        if self.username is None or self.password is None:
            return self.source
        return with_login(self.source, self.username, self.password.get_secret_value())

    @property
    def frozen_after(self) -> int:
        """Number of identical frames in a row from which the camera counts as frozen; 0: never."""
        if self.frozen is not None:
            return self.frozen
        return 100 if parse_address(self.source).kind in ("device", "stream") else 0

    @property
    def inspects_every_frame(self) -> bool:
        """Whether the source waits instead of frames being dropped."""
        return self.frames == "every" or (
            self.frames == "auto" and parse_address(self.source).kind == "files"
        )
