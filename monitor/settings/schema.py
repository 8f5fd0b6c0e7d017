"""Define the settings: every key with its default, description and validation.

Only the bootstrap reads these settings; other modules receive plain values.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from monitor.errors import UsageError
from monitor.redis_streams.address import parse_redis_url
from monitor.settings.base import Name, Seconds, SettingsTable, Share, validate_names_differ
from monitor.settings.camera import CameraSettings, SanitySettings
from monitor.settings.inference import InferenceSettings
from monitor.settings.page import PageSettings, PreviewSettings


class ModelSettings(SettingsTable):
    """The network."""

    path: str = "dagm-class1"
    """Folder of a model bundle, or the name of a shipped one."""
    threshold: Share | None = None
    """Score (0..1) from which a frame is flagged. Default: the bundle's, chosen on its validation data."""


class ExplainSettings(SettingsTable):
    """How the defect on a flagged frame is located (Faster-Score-CAM)."""

    enabled: bool = True
    """Explain flagged frames. If false, events have no regions and state the reason."""
    max_n: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Maximum number of feature maps to score, those of highest standard deviation. Default: the bundle's."""
    budget: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Fraction of the time that Faster-Score-CAM may take (default 0.3). A frame of a live camera is refined
    only if scoring all its maps takes at most this fraction of the time between two frames, so that no
    verdict is late for it. Otherwise regions come from the activations of the classification, and the event
    reports that. 1: no limit. Sources that wait (`every`) have no limit."""
    deadline: Seconds = 2.0
    """Seconds after capture (default 2) until which Faster-Score-CAM refines a frame."""
    scoring: Literal["card", "seed", "article", "paper"] = "card"
    """How maps are scored: `seed` or `article` (the article's published function), `paper` (Wang et al.
    2020), `card` (default: as the bundle specifies)."""
    threshold: Share | None = None
    """Heat from which a pixel belongs to a region, as a fraction (0..1) of the frame's peak. Default: the
    bundle's."""
    minimum_area: Annotated[float, Field(ge=0, le=1)] = 0.0005
    """Minimum area of a region, as a fraction of a tile's area (default 0.0005)."""
    queue_bytes: Annotated[int, Field(ge=1_000_000)] = 256_000_000
    """Maximum size of queued flagged frames in bytes (default 256 MB). Beyond it, inspection waits for the
    explanations, and no flagged frame is dropped."""
    queue: Annotated[int, Field(ge=1, le=10000)] = 32
    """Number of queued flagged frames (default 32) above which no map is scored."""


class RedisSettings(SettingsTable):
    """The Redis or Valkey server that receives events."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """`redis://[user:password@]host:port/db`, `rediss://…` (TLS), `unix://…`, `redis+cluster://…` (one of its
    nodes) or `redis+sentinel://[user:password@]host:port,host:port/service/db` (the Sentinels). In user and
    password, percent-encode @ # / ? %. Options for other clients (`?protocol=3`) have no effect."""
    username: str | None = None
    """ACL user, if not in the URL."""
    password: SecretStr | None = None
    """Password, if not in the URL; prefer `${NAME}` to plain text."""
    password_file: str | None = None
    """File with the password, instead of `password`. It is read again at each reload, so a new password needs
    no restart."""
    sentinel_username: str | None = None
    """ACL user of the Sentinels themselves."""
    sentinel_password: SecretStr | None = None
    """Password of the Sentinels themselves."""
    tls_ca: str | None = None
    """PEM file of the authority that issued the server's certificate. Default: those of the system."""
    tls_certificate: str | None = None
    """PEM file of the client certificate, where the server requires one."""
    tls_key: str | None = None
    """PEM file of the client certificate's private key."""
    replicas: Annotated[int, Field(ge=0, le=100)] = 0
    """Number of replicas that must have an event before it counts as delivered (default 0). With Sentinels or
    a cluster use at least 1: a failover loses events that no replica had."""
    durable: bool = False
    """Count an event as delivered only once it is on the disk of Redis (WAITAOF: Redis 7.2 or Valkey, with
    `appendonly yes`)."""
    prefix: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] = "defects"
    """Prefix of all keys; on a cluster a hash tag, such as `{line1}`."""
    stream_maxlen: Annotated[int, Field(ge=1)] = 10_000
    """Approximate maximum number of entries in the event stream (default 10,000)."""
    frame_ttl: Annotated[int, Field(ge=1)] = 86_400
    """Seconds after which images in Redis expire (default 86,400: one day)."""
    picture_bytes: Annotated[int, Field(ge=1_000_000)] = 100_000_000
    """Maximum size in bytes of all images in Redis under the prefix (default 100 MB); the oldest are removed
    first. Events and the overhead of Redis are not included."""
    raw_frames: bool = False
    """Also store the frame without annotation, as JPEG (default false)."""
    timeout: Seconds = 2.0
    """Seconds to wait for a connection or a reply (default 2)."""

    @field_validator("url")
    @classmethod
    def _validate_url(cls, url: SecretStr) -> SecretStr:
        try:
            parse_redis_url(url.get_secret_value())
        except UsageError as error:
            raise ValueError(str(error)) from None
        return url

    @model_validator(mode="after")
    def _one_password(self) -> "RedisSettings":
        if self.password is not None and self.password_file is not None:
            raise ValueError("password and password_file exclude each other")
        return self


class OutboxSettings(SettingsTable):
    """The queue of events that Redis has not acknowledged."""

    path: str = ""
    """SQLite file of the queue, which survives a crash of the daemon; each daemon needs its own. Empty:
    `outbox.db` in `$STATE_DIRECTORY`, which systemd sets; without it, in memory only: a crash loses the
    queue."""
    sync: Literal["power", "process"] = "power"
    """What the file survives. `power` (default): also a power cut, with one fsync per event. `process`: only
    a crash of the daemon, with fewer writes for a slow disk."""
    max_age: Seconds = 7 * 86_400
    """Seconds that an event may stay in the queue (default 7 days); older events are dropped, counted and
    reported."""
    max_events: Annotated[int, Field(ge=1)] = 10_000
    """Maximum number of events in the queue (default 10,000)."""
    max_bytes: Annotated[int, Field(ge=1_000_000)] = 256_000_000
    """Maximum size of the queue in bytes (default 256 MB). The oldest images are dropped first, then the
    oldest events; both are counted and reported."""


class VerdictSettings(SettingsTable):
    """A verdict for every frame, beside the events of flagged frames."""

    publish: bool = False
    """Write the outcome of every frame to the stream `defects:verdicts` (default false)."""
    stream_maxlen: Annotated[int, Field(ge=1)] = 10_000
    """Approximate maximum number of entries in that stream (default 10,000). An entry is one second of one
    camera."""


class SampleSettings(SettingsTable):
    """Frames that are kept for learning, as the camera gave them, beside the flagged ones."""

    publish: bool = False
    """Keep frames in the stream `defects:samples` as PNG files (default false): all flagged ones and the
    clean ones below, without near-duplicates. No verdict waits for it."""
    band: Share = 0.2
    """Keep clean frames whose score is at most this far below the threshold (default 0.2). 0: none."""
    unfamiliar: bool = True
    """Keep clean frames that are unlike the model's training data (default true)."""
    random_fraction: Share = 0.001
    """Fraction of all other clean frames to keep, drawn at random (default 0.001)."""
    interval: Annotated[float, Field(ge=0)] = 10.0
    """Minimum seconds between two clean frames of a camera (default 10)."""
    per_day: Annotated[int, Field(ge=1)] = 200
    """Maximum number of samples of each camera and reason (`flagged`, `near-threshold`, `unfamiliar`,
    `random`, `shadow-differs`) in a day, UTC (default 200)."""
    max_bytes: Annotated[int, Field(ge=1_000_000)] = 200_000_000
    """Maximum size in bytes of all samples in Redis (default 200 MB); the oldest are removed first."""
    ttl: Annotated[int, Field(ge=1)] = 86_400
    """Seconds after which a sample in Redis expires (default 86,400: one day)."""
    stream_maxlen: Annotated[int, Field(ge=1)] = 10_000
    """Approximate maximum number of entries in the stream (default 10,000)."""


class IncidentSettings(SettingsTable):
    """Which flagged frames of a camera show the same defect."""

    seconds: Seconds = 2.0
    """Longest time in seconds between two frames of one incident (default 2); a later frame starts a new
    one."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Largest difference of frame numbers within one incident. Default: only the time counts."""
    shift: dict[str, tuple[float, float]] = Field(default={})
    """Pixels [x, y] by which the surface moves from one frame to the next, by camera. Default: 0, 0."""


class AnnotateSettings(SettingsTable):
    """The annotated image of an event."""

    heat: Literal["outline", "overlay", "none"] = "overlay"
    """What is drawn besides boxes. `outline`: the contours of regions; `overlay` (default): contours and the
    heat as a light tint; `none`: nothing."""
    jpeg_quality: Annotated[int, Field(ge=10, le=100)] = 85
    """JPEG quality, 10..100 (default 85)."""


class MetricsSettings(SettingsTable):
    """Prometheus metrics, `/healthz` and `/readyz`."""

    host: str = "127.0.0.1"
    """Address to listen on (default 127.0.0.1)."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9464
    """Port (default 9464); 0 selects a free port."""


class ChallengeSettings(SettingsTable):
    """Tests of the running daemon with known rejects, `defect-monitor challenge`."""

    key_file: str | None = None
    """File with the key, of 16 bytes or more, that signs the logs. Default: the one that `--key` names."""


class LogSettings(SettingsTable):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written (default `info`)."""
    format: Literal["text", "json"] = "text"
    """`text` (default) for people, `json` for one object per line."""


class Settings(SettingsTable):
    """The settings of a daemon: one TOML file."""

    camera: Annotated[tuple[CameraSettings, ...], Field(min_length=1), AfterValidator(validate_names_differ)]
    """The cameras, one `[[camera]]` table each."""
    recipe: Name | None = None
    """Name of the recipe in force, `recipes/NAME.toml` beside this file, unless `defect-monitor recipe use`
    selected another. Default: none."""
    model: ModelSettings = ModelSettings()
    """The network."""
    inference: InferenceSettings = InferenceSettings()
    """Where and how the network runs."""
    sanity: SanitySettings = SanitySettings()
    """Limits within which a frame is classified."""
    explain: ExplainSettings = ExplainSettings()
    """How the defect on a flagged frame is located."""
    redis: RedisSettings = RedisSettings()
    """The server that receives events."""
    outbox: OutboxSettings = OutboxSettings()
    """The queue of events that Redis has not acknowledged."""
    verdicts: VerdictSettings = VerdictSettings()
    """A verdict for every frame."""
    samples: SampleSettings = SampleSettings()
    """Frames that are kept for learning."""
    incidents: IncidentSettings = IncidentSettings()
    """Which flagged frames show the same defect."""
    annotate: AnnotateSettings = AnnotateSettings()
    """The annotated image of an event."""
    metrics: MetricsSettings = MetricsSettings()
    """Prometheus metrics and health."""
    preview: PreviewSettings = PreviewSettings()
    """Live frames for the operator's page."""
    page: PageSettings = PageSettings()
    """The operator's page."""
    challenge: ChallengeSettings = ChallengeSettings()
    """Tests with known rejects."""
    log: LogSettings = LogSettings()
    """The log."""

    @model_validator(mode="after")
    def _cameras_fit_other_tables(self) -> "Settings":
        names = {camera.name for camera in self.camera}
        for name in self.incidents.shift:
            if name not in names:
                raise ValueError(f"incidents.shift: there is no camera named '{name}'")
        if not self.samples.publish and (shadowed := [it.name for it in self.camera if it.shadow]):
            raise ValueError(f"camera '{shadowed[0]}' has a shadow model: set samples.publish = true")
        return self
