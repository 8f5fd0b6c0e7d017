"""From settings to parts: the one place that turns them into plain values."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.incidents import IncidentTracker, IncidentWindow
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.lease import CameraLeases
from monitor.redis_streams.lease import daemon_id as claims_identity
from monitor.settings import Settings

log = logging.getLogger(__name__)


def build_redis_sink(settings: Settings) -> RedisSink:
    """The way to Redis; touches no network. Raises UsageError for a URL that is none."""
    redis = settings.redis
    return RedisSink(
        redis.url.get_secret_value(),
        redis.prefix,
        stream_maxlen=redis.stream_maxlen,
        frame_ttl=redis.frame_ttl,
        high_water_ttl=int(settings.outbox.max_age) + 3600,
        picture_bytes=redis.picture_bytes,
        timeout=redis.timeout,
        replicas=redis.replicas,
        access=redis_credentials(settings),
    )


def redis_credentials(settings: Settings) -> RedisCredentials:
    """What Redis wants to know before it lets us in."""
    redis = settings.redis
    password, sentinel = redis.password, redis.sentinel_password
    return RedisCredentials(
        username=redis.username,
        password=password.get_secret_value() if password else None,
        sentinel_password=sentinel.get_secret_value() if sentinel else None,
        ca=redis.tls_ca,
        certificate=redis.tls_certificate,
        key=redis.tls_key,
    )


def daemon_id(settings: Settings) -> str:
    """Which daemon this is: the same after a restart, as far as an outbox's path or a port can tell."""
    path, port = outbox_path(settings), settings.metrics.port
    if path is not None:
        return claims_identity(str(path.resolve()))
    return claims_identity(f"port {port}" if port else None)


def build_leases(
    settings: Settings, daemon: str, on_change: Callable[[str, str | None], None]
) -> CameraLeases:
    """The claims of this daemon to its cameras' names; touches no network."""
    redis = settings.redis
    return CameraLeases(
        redis.url.get_secret_value(),
        redis.prefix,
        daemon,
        [camera.name for camera in settings.camera],
        on_conflict=on_change,
        timeout=min(1.0, redis.timeout),  # a stop waits for it
        access=redis_credentials(settings),
    )


def outbox_path(settings: Settings) -> Path | None:
    """The file that is asked for, else one in the folder that systemd gives a service; None: memory alone."""
    if settings.outbox.path:
        return Path(settings.outbox.path)
    folder = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(folder) / "outbox.db" if folder else None


def heartbeat_path(settings: Settings) -> Path | None:
    """The file whose time stamp says until when the daemon was watching, beside the outbox; None: no file."""
    path = outbox_path(settings)
    return None if path is None else path.with_name(path.name + ".alive")


def build_outbox_queue(settings: Settings) -> OutboxQueue:
    """What waits for Redis, with what an earlier run left."""
    wanted, path = settings.outbox, outbox_path(settings)
    if path is None:
        log.info("events that wait for Redis are in memory alone: outbox.path would keep them on disk")
        return OutboxQueue(wanted.max_events, wanted.max_bytes)
    kept = OutboxQueue(wanted.max_events, wanted.max_bytes, SqliteStorage(path, sync=wanted.sync))
    if len(kept):
        log.info("%d events or notices of an earlier run wait in %s", len(kept), path)
    return kept


def incidents(settings: Settings, state: str | None) -> IncidentTracker:
    """Incidents as they stood in `state`."""
    wanted = settings.incidents
    return IncidentTracker(IncidentWindow(wanted.seconds, wanted.frames, wanted.shift), state)
