"""The settings of one camera: every key with its default, its description and its check.

Only the bootstrap reads these; plain values go inward from there.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from monitor.capture.sources.address import parse_address, with_login
from monitor.errors import SourceError
from monitor.settings.base import Name, Seconds, SettingsTable, Share, _validate_source

PixelCount = Annotated[int, Field(ge=1, le=65_535)]


class SanitySettings(SettingsTable):
    """What a frame must be like to be classified. One that is not is `unusable`, with the reason: neither
    clean nor defect. The defaults are proved on DAGM's Class1 and on photographs of magnetic tiles."""

    enabled: bool = True
    """Whether frames are checked. Without it every frame is classified, also a black one."""
    black: Annotated[float, Field(ge=-1, le=255)] = 20.0
    """Black: 99 % of the pixels are at this grey level (0..255) or below. -1: not checked."""
    white: Annotated[float, Field(ge=0, le=256)] = 235.0
    """White: 99 % of the pixels are at this grey level or above. 256: not checked."""
    uniform: Annotated[float, Field(ge=0, le=128)] = 2.0
    """Uniform: the standard deviation of all grey levels is below this. 0: not checked."""
    saturated: Share = 0.75
    """Saturated: more than this share of the pixels is clipped (grey level 250 or above). Raise it where the
    background is lit from behind. 1: not checked."""
    smeared: Share = 0.06
    """Smeared, as by a decoder that lost data: on more than this share of the frame each row equals the one
    above, bit by bit, and is not clipped. 1: not checked."""
    blurred: Annotated[float, Field(ge=0, le=1)] = 0.065
    """Blurred: what changes over 2 pixels (of about 512 across) is less than this share of what changes over
    16, noise taken off. A ramp without any detail has 0.016. 0: not checked; needed for a surface that is
    smooth by nature."""
    noise: Annotated[float, Field(ge=0, le=50)] = 8.0
    """Camera noise, a standard deviation in grey levels, up to which fine structure is taken for noise and
    not for sharpness."""
    torn: Annotated[float, Field(ge=0, le=1)] = 0.45
    """Torn: at one row, over the whole width, the frame goes on from the row above worse than usual by this
    share of the way to rows that have nothing in common. 0: not checked. Surfaces whose rows never have
    anything in common, such as fine grain, hide it."""


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
    """Password of an RTSP or HTTP camera, in plain text: no character needs encoding. Best as `${NAME}`."""
    transport: Literal["auto", "tcp", "udp"] = "auto"
    """How an RTSP camera sends its frames. `auto`: over TCP, over UDP where the camera refuses TCP. UDP loses
    packets on a busy network; frames with losses are not inspected."""
    expected_size: tuple[PixelCount, PixelCount] | None = None
    """[width, height] in pixels that each frame must have, after `rotate`. A camera that delivers another
    size is `misconfigured`, and its frames are not inspected: `roi` would show another place."""
    rotate: Literal[0, 90, 180, 270] = 0
    """Degrees by which each frame is turned clockwise, in addition to what the file or stream asks for."""
    bit_depth: Annotated[int, Field(ge=8, le=16)] | None = None
    """Bits that the values of an image file or stream of 16 bits use, such as 12. Default: what the file
    says, else 16; a file that says nothing and uses at most 14 bits is `unusable`."""
    size: tuple[PixelCount, PixelCount] | None = None
    """[width, height] in pixels that a device is asked for. Default: what it is set to. `doctor` lists what
    the device offers."""
    format: Annotated[str, Field(pattern=r"^[ -~]{4}$")] | None = None
    """Pixel format that a device is asked for, four characters such as `MJPG` or `YUYV`."""
    exposure: Annotated[float, Field(ge=0)] | None = None
    """Exposure of a device, in the units of its driver (often 0.1 ms). Switches automatic exposure off."""
    gain: Annotated[float, Field(ge=0)] | None = None
    """Gain of a device, in the units of its driver."""
    roi: tuple[int, int, int, int] | None = None
    """Part of the frame that is inspected: [x, y, width, height] in pixels. Default: the whole frame."""
    tiles: tuple[int, int] = (1, 1)
    """[rows, columns] of tiles that the inspected part is cut into; each tile is one network input."""
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Share of a tile's side by which neighbouring tiles overlap."""
    frames: Literal["auto", "every", "newest"] = "auto"
    """`every` inspects each frame and holds the source back; `newest` drops the oldest queued frame, and
    counts it. `auto`: `newest` for live sources, `every` for files and folders."""
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames per second of a folder, a file or the simulation, or that a device is asked for. Default: as
    fast as they are inspected (simulation: 15). Streams keep their own rate."""
    loop: bool = False
    """Start a file or folder again when it ends."""
    watch: bool = False
    """Watch a folder or glob: inspect the files in it and each new one as soon as it is complete. Restarts do
    not inspect a file again unless it changed; which files were inspected is stored beside the outbox."""
    buffer: Annotated[int, Field(ge=1, le=1000)] = 8
    """Frames that may be queued for inspection."""
    max_age: Seconds | None = None
    """Seconds after which a queued frame is dropped and reported, rather than inspected late."""
    silence: Annotated[float, Field(ge=0, le=86400)] = 3.0
    """Seconds without a frame after which a camera counts as stalled and is opened again; never less than
    three frame periods, which are learned. 0 for a triggered camera: it may be silent for ever."""
    frozen: Annotated[int, Field(ge=0)] | None = None
    """This many identical frames in a row mean a frozen camera, whose frames are not inspected until one
    differs; 0: never. Default: 100 for devices and streams, never for files and the simulation."""
    expected_fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Frames per second that a live camera should deliver. The camera is reported as `slow` or `fast` when
    its rate is off by more than 30 %."""
    open_timeout: Seconds = 5.0
    """Seconds that opening a stream may take, up to its second frame. Raise it for a triggered stream."""
    read_timeout: Seconds = 5.0
    """Seconds that a stream's next frame may take; never less than three frame periods. Without effect with
    `silence = 0`."""
    decode: Literal["auto", "software", "hardware"] = "software"
    """Where a stream is decoded. `auto` uses a hardware decoder where there is one, and logs it; `hardware`
    refuses a stream that none decodes."""
    sanity: SanitySettings | None = None
    """Limits of this camera alone, in place of the table `[sanity]`."""

    @model_validator(mode="after")
    def _check(self) -> "CameraSettings":
        self._check_login()
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < 1):
            raise ValueError("roi must be [x, y, width, height] with x, y ≥ 0 and width, height ≥ 1")
        if min(self.tiles) < 1 or self.tiles[0] * self.tiles[1] > 256:
            raise ValueError("tiles must be [rows, columns] of at least 1 each and at most 256 together")
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
        """The source with user and password; a secret."""
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
        """Whether the source is held back rather than frames dropped."""
        return self.frames == "every" or (
            self.frames == "auto" and parse_address(self.source).kind == "files"
        )
