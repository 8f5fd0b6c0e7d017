"""Build the parts of delivery from the settings."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from monitor.daemon.sample_selection import SamplingRules
from monitor.daemon.samples import SampleRecorder
from monitor.delivery.identity import daemon_identity
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sinks.redis import ImageObserver, RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.errors import SettingsError
from monitor.events.incidents import IncidentTracker, IncidentWindow
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.challenge import ChallengeQueue
from monitor.redis_streams.lease import CameraLeases
from monitor.redis_streams.preview import PreviewPublisher
from monitor.redis_streams.sample_store import SampleStore
from monitor.redis_streams.stream_monitor import StreamMonitor
from monitor.settings import Settings
from monitor.telemetry.sample_metrics import SampleMetrics

logger = logging.getLogger(__name__)


def build_redis_sink(settings: Settings, daemon: str, observer: ImageObserver | None = None) -> RedisSink:
    """Build the sink that delivers to Redis; does not connect. Raises UsageError for an invalid URL."""
    redis = settings.redis
    return RedisSink(
        redis.url.get_secret_value(),
        redis.prefix,
        daemon=daemon,
        stream_maxlen=redis.stream_maxlen,
        verdicts_maxlen=settings.verdicts.stream_maxlen if settings.verdicts.publish else None,
        frame_ttl=redis.frame_ttl,
        high_water_ttl=int(settings.outbox.max_age) + 3600,
        picture_bytes=redis.picture_bytes,
        timeout=redis.timeout,
        replicas=redis.replicas,
        durable=redis.durable,
        access=redis_credentials(settings),
        observer=observer,
    )


def redis_credentials(settings: Settings) -> RedisCredentials:
    """Return user, passwords and certificates for Redis. Raises SettingsError for an unreadable file."""
    redis = settings.redis
    password, sentinel = redis.password, redis.sentinel_password
    return RedisCredentials(
        username=redis.username,
        password=_password_in(redis.password_file) or (password.get_secret_value() if password else None),
        sentinel_username=redis.sentinel_username,
        sentinel_password=sentinel.get_secret_value() if sentinel else None,
        ca=redis.tls_ca,
        certificate=redis.tls_certificate,
        key=redis.tls_key,
    )


def page_credentials(settings: Settings) -> RedisCredentials:
    """Return those of the page's own user, if there is one, with the daemon's certificates."""
    own, page = redis_credentials(settings), settings.page
    if page.redis_username is None:
        return own
    password = page.redis_password.get_secret_value() if page.redis_password else None
    return replace(own, username=page.redis_username, password=password)


def _password_in(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        password = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"redis.password_file: {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"redis.password_file: {file} is not UTF-8 text") from None
    if not password:
        raise SettingsError(f"redis.password_file: {file} is empty")
    return password


def daemon_id(settings: Settings) -> str:
    """Return the stored random identity of this daemon; without an outbox file, one for this run."""
    return daemon_identity(outbox_path(settings))


def build_leases(
    settings: Settings, daemon: str, on_change: Callable[[str, str | None], None]
) -> CameraLeases:
    """Build the leases of this daemon on its camera names; does not connect."""
    redis = settings.redis
    return CameraLeases(
        redis.url.get_secret_value(),
        redis.prefix,
        daemon,
        [camera.name for camera in settings.camera],
        on_conflict=on_change,
        timeout=min(1.0, redis.timeout),  # stopping the daemon waits this long at most
        access=redis_credentials(settings),
    )


def build_stream_monitor(settings: Settings) -> StreamMonitor:
    """Build the thread that measures the lag of consumers; does not connect."""
    redis = settings.redis
    return StreamMonitor(
        redis.url.get_secret_value(),
        redis.prefix,
        redis.stream_maxlen,
        timeout=redis.timeout,
        access=redis_credentials(settings),
    )


def build_preview(settings: Settings) -> PreviewPublisher:
    """Build the publisher of live frames; does not connect."""
    redis = settings.redis
    return PreviewPublisher(
        redis.url.get_secret_value(),
        redis.prefix,
        rate=settings.preview.rate,
        max_side=settings.preview.side,
        timeout=min(1.0, redis.timeout),
        access=redis_credentials(settings),
    )


def build_challenge_queue(settings: Settings) -> ChallengeQueue:
    """Build the queue of known frames to inspect as a test; does not connect."""
    redis = settings.redis
    return ChallengeQueue(
        redis.url.get_secret_value(),
        redis.prefix,
        timeout=min(1.0, redis.timeout),
        access=redis_credentials(settings),
    )


def build_samples(settings: Settings, metrics: SampleMetrics) -> SampleRecorder:
    """Build the recorder of frames that are kept for learning; does not connect."""
    redis, samples = settings.redis, settings.samples
    store = SampleStore(
        redis.url.get_secret_value(),
        redis.prefix,
        stream_maxlen=samples.stream_maxlen,
        max_bytes=samples.max_bytes,
        ttl=samples.ttl,
        timeout=redis.timeout,
        access=redis_credentials(settings),
    )
    rules = SamplingRules(
        band=samples.band,
        unfamiliar=samples.unfamiliar,
        random_fraction=samples.random_fraction,
        interval=samples.interval,
        per_day=samples.per_day,
    )
    return SampleRecorder(store, rules, metrics)


def outbox_path(settings: Settings) -> Path | None:
    """Return `outbox.path`, else a file in `$STATE_DIRECTORY`, which systemd sets; None: no file."""
    if settings.outbox.path:
        return Path(settings.outbox.path)
    folder = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(folder) / "outbox.db" if folder else None


def heartbeat_path(settings: Settings) -> Path | None:
    """Return the heartbeat file beside the outbox; None without an outbox file."""
    path = outbox_path(settings)
    return None if path is None else path.with_name(path.name + ".alive")


def build_outbox_queue(settings: Settings, sinks: Sequence[str]) -> OutboxQueue:
    """Build the queue for these sinks, with the backlog of an earlier run. Raises MonitorError."""
    options, path = settings.outbox, outbox_path(settings)
    if path is None:
        logger.info("outbox in memory only: set outbox.path to store undelivered events on disk")
    return OutboxQueue(
        sinks,
        max_items=options.max_events,
        max_bytes=options.max_bytes,
        max_age=options.max_age,
        storage=SqliteStorage(path, sync=options.sync),
    )


def incidents(settings: Settings, state: str | None) -> IncidentTracker:
    """Build the incident tracker from a stored `state`, None for an empty one."""
    window = settings.incidents
    return IncidentTracker(IncidentWindow(window.seconds, window.frames, window.shift), state)
