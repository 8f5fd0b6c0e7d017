"""The settings: every key with its default, its description and its check, in one place.

Only the composition root reads these; plain values go inward from there.
"""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from monitor.errors import UsageError
from monitor.redis_streams.address import parse_redis_url
from monitor.settings.base import Seconds, SettingsTable, Share
from monitor.settings.camera import CameraSettings, SanitySettings


class ModelSettings(SettingsTable):
    """The network."""

    path: str = "dagm-class1"
    """Folder of a model bundle, or the name of a shipped one."""
    threshold: Share | None = None
    """Score from which a frame is flagged. Default: the bundle's own, set on its validation data."""


class InferenceSettings(SettingsTable):
    """Where and how the network runs."""

    device: Literal["auto", "gpu", "cpu"] = "auto"
    """`gpu` refuses to start without one; `auto` takes one if there is one and says what it took."""
    runtime: Literal["auto", "tensorflow", "openvino"] = "auto"
    """What runs the network on a CPU. `auto`: the fastest one installed; a GPU runs TensorFlow."""
    precision: Literal["auto", "fp32", "bf16", "mixed-float16"] = "auto"
    """Arithmetic of the network. `auto`: `bf16` on a CPU that is faster by it, `mixed-float16` on a GPU, if
    the model's reference pictures are judged as in `fp32`. In both, a frame whose score is not near 0 or 1 is
    judged again in `fp32`."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Most network inputs in one pass."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads for the network on the CPU; 0: as many as there are cores."""


class ExplainSettings(SettingsTable):
    """How the defect on a flagged frame is located (Faster-Score-CAM)."""

    enabled: bool = True
    """Explain flagged frames. If false, events have no regions and state the reason."""
    max_n: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Feature maps scored at most: those of highest standard deviation. Default: the bundle's."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Fraction of the time that Faster-Score-CAM may take, so that a burst of defects delays no verdicts.
    When it is used up, fewer maps are scored, then none: regions then come from the activations of the
    classification, and the event says so. 1: no limit. Where the source waits (`every`) there is none."""
    deadline: Seconds = 2.0
    """Seconds after its capture until which Faster-Score-CAM works on a frame."""
    scoring: Literal["card", "seed", "paper"] = "card"
    """Weighing of the maps: `seed` (the article), `paper` (Wang et al. 2020), `card`: as the bundle says."""
    threshold: Share | None = None
    """Heat from which a pixel belongs to a region, as a share of the frame's peak. Default: the bundle's."""
    minimum_area: Annotated[float, Field(ge=0, le=1)] = 0.0005
    """Smallest region, as a fraction of the part of the frame that one network input shows."""
    queue_bytes: Annotated[int, Field(ge=1_000_000)] = 256_000_000
    """Bytes that queued flagged frames may take. Beyond that, inspection waits for the explanations, and no
    flagged frame is dropped."""
    queue: Annotated[int, Field(ge=1, le=10000)] = 32
    """Flagged frames that may be queued; while more are, no map is scored."""


class RedisSettings(SettingsTable):
    """The Redis or Valkey server that receives events."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """`redis://[user:password@]host:port/db`, `rediss://…` (TLS), `unix://…`, `redis+cluster://…` (one of its
    nodes) or `redis+sentinel://[user:password@]host:port,host:port/service/db` (the Sentinels). In user and
    password, percent-encode @ # / ? %. Options for other clients (`?protocol=3`) have no effect."""
    username: str | None = None
    """ACL user, if not in the URL."""
    password: SecretStr | None = None
    """Password, if not in the URL; best as `${NAME}`."""
    sentinel_password: SecretStr | None = None
    """Password of the Sentinels themselves."""
    tls_ca: str | None = None
    """PEM file of the authority that issued the server's certificate. Default: those of the system."""
    tls_certificate: str | None = None
    """PEM file of the client certificate, where the server requires one."""
    tls_key: str | None = None
    """PEM file of its key."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 0
    """Replicas that must have an event before it counts as delivered. With Sentinels or a cluster use 1 or
    more: a failover loses what no replica had."""
    durable: bool = False
    """Count an event as delivered only once it is on the disk of Redis (WAITAOF: Redis 7.2 or Valkey, with
    `appendonly yes`)."""
    prefix: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] = "defects"
    """Prefix of all keys; on a cluster a hash tag, such as `{line1}`."""
    stream_maxlen: Annotated[int, Field(ge=1)] = 10_000
    """Approximate number of entries in the event stream."""
    frame_ttl: Annotated[int, Field(ge=1)] = 86_400
    """Seconds after which images expire."""
    picture_bytes: Annotated[int, Field(ge=1_000_000)] = 100_000_000
    """Most bytes of all images in Redis below the prefix; the oldest are removed first. Events and Redis' own
    overhead come on top."""
    raw_frames: bool = False
    """Also store the frame without annotation, as JPEG."""
    timeout: Seconds = 2.0
    """Seconds to wait for a connection or an answer."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: SecretStr) -> SecretStr:
        try:
            parse_redis_url(url.get_secret_value())
        except UsageError as error:
            raise ValueError(str(error)) from None
        return url


class OutboxSettings(SettingsTable):
    """The queue of events that Redis has not acknowledged."""

    path: str = ""
    """SQLite file of the queue, which survives a crash of the daemon; each daemon needs its own. Empty:
    `outbox.db` in `$STATE_DIRECTORY`, which systemd sets; without that, memory, which survives nothing."""
    sync: Literal["power", "process"] = "power"
    """What the file survives: `power` also a power cut, by an fsync for each event; `process` a crash of the
    daemon only, which spares a slow disk."""
    max_age: Seconds = 7 * 86_400
    """Seconds that an event may stay in the queue; older ones are dropped, counted and reported."""
    max_events: Annotated[int, Field(ge=1)] = 10_000
    """Most events in the queue."""
    max_bytes: Annotated[int, Field(ge=1_000_000)] = 256_000_000
    """Most bytes in the queue. The oldest images are dropped first, then the oldest events; both are counted
    and reported."""


class IncidentSettings(SettingsTable):
    """Which flagged frames of a camera show the same defect."""

    seconds: Seconds = 2.0
    """Longest time between two frames of one incident; a later frame begins a new one."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Largest difference of frame numbers within one incident. Default: time alone decides."""
    shift: dict[str, tuple[float, float]] = Field(default={})
    """Pixels [x, y] by which the surface moves from one frame to the next, by camera. Default: 0, 0."""


class AnnotateSettings(SettingsTable):
    """The annotated image of an event."""

    heat: Literal["outline", "overlay", "none"] = "overlay"
    """What is drawn besides boxes: `outline`, the contours of regions; `overlay`, also the heat as a light
    tint; `none`, nothing."""
    jpeg_quality: Annotated[int, Field(ge=10, le=100)] = 85
    """JPEG quality."""


class MetricsSettings(SettingsTable):
    """Prometheus metrics, `/healthz` and `/readyz`."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """Port; 0 selects a free one."""


class LogSettings(SettingsTable):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""
    format: Literal["text", "json"] = "text"
    """`json`: one object per line."""


class Settings(SettingsTable):
    """The settings of a daemon: one TOML file."""

    camera: Annotated[tuple[CameraSettings, ...], Field(min_length=1)]
    """The cameras, one `[[camera]]` table each."""
    model: ModelSettings = ModelSettings()
    """The network."""
    inference: InferenceSettings = InferenceSettings()
    """Where and how the network runs."""
    sanity: SanitySettings = SanitySettings()
    """What an image must be like to be classified."""
    explain: ExplainSettings = ExplainSettings()
    """How the defect on a flagged frame is located."""
    redis: RedisSettings = RedisSettings()
    """The server that receives events."""
    outbox: OutboxSettings = OutboxSettings()
    """The queue of events that Redis has not acknowledged."""
    incidents: IncidentSettings = IncidentSettings()
    """Which flagged frames show the same defect."""
    annotate: AnnotateSettings = AnnotateSettings()
    """The annotated image of an event."""
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
