"""The settings: every key with its default, its description and its check, in one place.

Only the composition root reads these; plain values go inward from there.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from monitor.capture.address import parse_address
from monitor.errors import SourceError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=86400 * 366)]


def _a_source(source: str) -> str:
    try:
        parse_address(source)
    except SourceError as error:
        raise ValueError(str(error)) from None
    return source


class Table(BaseModel):
    """A table of the file: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class SanitySettings(Table):
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


class CameraSettings(Table):
    """One camera."""

    name: Name
    """Name in events, metrics and Redis keys: letters, digits, `_`, `.`, `-`; at most 64."""
    source: Annotated[str, AfterValidator(_a_source)]
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


class ModelSettings(Table):
    """The network."""

    path: str = "dagm-class1"
    """Folder of a model bundle, or the name of a shipped one."""
    threshold: Share | None = None
    """Score from which a frame is flagged. Default: the bundle's own, set on its validation data."""


class InferenceSettings(Table):
    """Where and how the network runs."""

    device: Literal["auto", "gpu", "cpu"] = "auto"
    """`gpu` refuses to start without one; `auto` takes one if there is one and says what it took."""
    runtime: Literal["auto", "tensorflow", "openvino", "onnxruntime"] = "auto"
    """What runs the network on a CPU. `auto`: the fastest one installed; a GPU runs TensorFlow."""
    precision: Literal["auto", "fp32", "bf16", "mixed-float16"] = "auto"
    """Arithmetic of the network. `auto`: `bf16` on a CPU that is faster by it, `mixed-float16` on a GPU, if
    the model's reference pictures are judged as in `fp32`. In both, a frame whose score is not near 0 or 1 is
    judged again in `fp32`."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Most network inputs in one pass."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads for the network on the CPU; 0: as many as there are cores."""


class ExplainSettings(Table):
    """Where on a flagged frame the evidence lies (Faster-Score-CAM)."""

    enabled: bool = True
    """Without it, events carry no regions and say so."""
    max_n: Annotated[int, Field(ge=1, le=4096)] = 10
    """Feature maps used at most: those of highest standard deviation."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the time that explanations may take, so that a burst of defects does not hold up verdicts.
    When it is used up, fewer maps are weighed, then none, and the event says so. 1: no limit."""
    deadline: Seconds = 2.0
    """Seconds after its capture until which a frame is explained; then the event goes with what there is."""
    scoring: Literal["card", "seed", "paper"] = "card"
    """Weighing of the maps: `seed` (the article), `paper` (Wang et al. 2020), `card`: as the bundle says."""
    threshold: Share | None = None
    """Heat from which a pixel belongs to a region, as a share of the frame's peak. Default: the bundle's."""
    minimum_area: Annotated[float, Field(ge=0, le=1)] = 0.0005
    """Smallest region, as a share of the inspected picture."""
    queue: Annotated[int, Field(ge=1, le=10000)] = 32
    """Flagged frames that may wait for an explanation; the next one goes out without heat, and says so."""


class RedisSettings(Table):
    """Where events go."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """`redis://[user:password@]host:port/db`, `rediss://…` (TLS), `unix://…`, `redis+cluster://…` (one of its
    nodes) or `redis+sentinel://[user:password@]host:port,host:port/service/db` (the Sentinels)."""
    username: str | None = None
    """ACL user, if not in the URL."""
    password: SecretStr | None = None
    """Password, if not in the URL; best as `${NAME}`."""
    sentinel_password: SecretStr | None = None
    """Password of the Sentinels themselves."""
    tls_ca: str | None = None
    """PEM file of the authority that the server's certificate must be from. Default: those of the system."""
    tls_certificate: str | None = None
    """PEM file of our own certificate, where the server asks for one."""
    tls_key: str | None = None
    """PEM file of its key."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 0
    """Replicas that must have an event before it counts as delivered; with Sentinels or a cluster 1 or more,
    since a failover forgets what no replica had."""
    prefix: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] = "defects"
    """Prefix of all keys; on a cluster a hash tag, such as `{line1}`."""
    stream_maxlen: Annotated[int, Field(ge=1)] = 10_000
    """Entries that the event stream keeps, about."""
    frame_ttl: Annotated[int, Field(ge=1)] = 86_400
    """Seconds that pictures are kept."""
    picture_bytes: Annotated[int, Field(ge=1_000_000)] = 100_000_000
    """Bytes that all pictures in Redis below the prefix may take: the oldest are removed for the newest.
    Events, and what Redis needs for itself, come on top."""
    raw_frames: bool = False
    """Also keep the frame as it came, as JPEG."""
    timeout: Seconds = 2.0
    """Seconds to wait for a connection or an answer."""


class OutboxSettings(Table):
    """What waits for Redis while it is away."""

    path: str = ""
    """SQLite file in which what waits outlives a crash of the daemon; each daemon needs its own. Empty:
    `outbox.db` in `$STATE_DIRECTORY`, which systemd sets, and without that memory, which outlives nothing."""
    sync: Literal["power", "process"] = "power"
    """What the file outlives: `power` also a power cut, by an fsync for each event; `process` a crash of the
    daemon only, which spares a slow disk."""
    max_age: Seconds = 7 * 86_400
    """Seconds that an event may wait; older ones are given up, counted and said."""
    max_events: Annotated[int, Field(ge=1)] = 10_000
    """Events that may wait."""
    max_bytes: Annotated[int, Field(ge=1_000_000)] = 256_000_000
    """Bytes that may wait: the oldest pictures give way first, then the oldest events, counted and said."""


class IncidentSettings(Table):
    """Which flagged frames of a camera show one and the same defect."""

    seconds: Seconds = 2.0
    """A frame that comes later than this after the last one begins a new incident, and the old one ends."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """The same by frame numbers. Default: by time alone."""
    shift: dict[str, tuple[float, float]] = {}
    """By how many pixels, [x, y], the surface moves from one frame to the next, by camera. Default: 0, 0."""


class AnnotateSettings(Table):
    """The picture that goes with an event."""

    jpeg_quality: Annotated[int, Field(ge=10, le=100)] = 85
    """JPEG quality."""


class MetricsSettings(Table):
    """Prometheus metrics, `/healthz` and `/readyz`."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """Port; 0 takes a free one."""


class LogSettings(Table):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["text", "json"] = "text"
    """`json`: one object a line."""


class Settings(Table):
    """The settings of a daemon: one TOML file."""

    camera: Annotated[tuple[CameraSettings, ...], Field(min_length=1)]
    """The cameras, one `[[camera]]` table each."""
    model: ModelSettings = ModelSettings()
    """The network."""
    inference: InferenceSettings = InferenceSettings()
    """Where and how the network runs."""
    sanity: SanitySettings = SanitySettings()
    """What a picture must be before it is judged."""
    explain: ExplainSettings = ExplainSettings()
    """Where on a flagged frame the evidence lies."""
    redis: RedisSettings = RedisSettings()
    """Where events go."""
    outbox: OutboxSettings = OutboxSettings()
    """What waits for Redis while it is away."""
    incidents: IncidentSettings = IncidentSettings()
    """Which flagged frames show one and the same defect."""
    annotate: AnnotateSettings = AnnotateSettings()
    """The picture that goes with an event."""
    metrics: MetricsSettings = MetricsSettings()
    """Prometheus metrics and health."""
    log: LogSettings = LogSettings()
    """The log."""

    @model_validator(mode="after")
    def _names_differ(self) -> "Settings":
        names = [camera.name for camera in self.camera]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise PydanticCustomError(
                    "name_twice", "another camera is named '{name}' already", {"name": name, "index": index}
                )
        return self

    @model_validator(mode="after")
    def _shifts_are_of_cameras(self) -> "Settings":
        names = {camera.name for camera in self.camera}
        for name in self.incidents.shift:
            if name not in names:
                raise ValueError(f"incidents.shift: there is no camera named '{name}'")
        return self
