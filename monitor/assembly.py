"""From settings to parts: the one place that turns them into plain values."""

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from monitor.capture.address import parse_address
from monitor.capture.camera import Camera
from monitor.capture.order import Order
from monitor.capture.sanity import Limits
from monitor.capture.worker import launch
from monitor.classify.bundle import Bundle
from monitor.classify.card import Card
from monitor.classify.classifier import Classifier
from monitor.classify.device import Device, prepare_tensorflow
from monitor.classify.gate import Expected, Gate
from monitor.classify.ready import ready
from monitor.classify.ways import Wanted
from monitor.pipeline.judge import Classify, Judgement
from monitor.pipeline.report import IN_PLACE, Explain, Explaining
from monitor.publish.address import Access
from monitor.publish.claims import Claims
from monitor.publish.claims import identity as claims_identity
from monitor.publish.disk_shelf import DiskShelf
from monitor.publish.incidents import Incidents, Window
from monitor.publish.redis_sink import RedisSink
from monitor.publish.store import Store
from monitor.settings import CameraSettings, Settings

log = logging.getLogger(__name__)

_LEEWAY = 5.0
"""Seconds that a capture process may need beyond its own time limits, on a busy machine."""


def sink(settings: Settings) -> RedisSink:
    """The way to Redis; touches no network. Raises UsageError for a URL that is none."""
    redis = settings.redis
    return RedisSink(
        redis.url.get_secret_value(),
        redis.prefix,
        stream_maxlen=redis.stream_maxlen,
        frame_ttl=redis.frame_ttl,
        mark_ttl=int(settings.outbox.max_age) + 3600,
        picture_bytes=redis.picture_bytes,
        timeout=redis.timeout,
        replicas=redis.replicas,
        access=access(settings),
    )


def access(settings: Settings) -> Access:
    """What Redis wants to know before it lets us in."""
    redis = settings.redis
    password, sentinel = redis.password, redis.sentinel_password
    return Access(
        username=redis.username,
        password=password.get_secret_value() if password else None,
        sentinel_password=sentinel.get_secret_value() if sentinel else None,
        ca=redis.tls_ca,
        certificate=redis.tls_certificate,
        key=redis.tls_key,
    )


def identity(settings: Settings) -> str:
    """Which daemon this is: the same after a restart, as far as an outbox's path or a port can tell."""
    path, port = outbox_path(settings), settings.metrics.port
    if path is not None:
        return claims_identity(str(path.resolve()))
    return claims_identity(f"port {port}" if port else None)


def claims(settings: Settings, daemon: str, on_change: Callable[[str, str | None], None]) -> Claims:
    """The claims of this daemon to its cameras' names; touches no network."""
    redis = settings.redis
    return Claims(
        redis.url.get_secret_value(),
        redis.prefix,
        daemon,
        [camera.name for camera in settings.camera],
        on_change=on_change,
        timeout=min(1.0, redis.timeout),  # a stop waits for it
        access=access(settings),
    )


def outbox_path(settings: Settings) -> Path | None:
    """The file that is asked for, else one in the folder that systemd gives a service; None: memory alone."""
    if settings.outbox.path:
        return Path(settings.outbox.path)
    folder = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(folder) / "outbox.db" if folder else None


def life_sign_path(settings: Settings) -> Path | None:
    """The file whose time stamp says until when the daemon was watching, beside the outbox; None: no file."""
    path = outbox_path(settings)
    return None if path is None else path.with_name(path.name + ".alive")


def store(settings: Settings) -> Store:
    """What waits for Redis, with what an earlier run left."""
    wanted, path = settings.outbox, outbox_path(settings)
    if path is None:
        log.info("events that wait for Redis are in memory alone: outbox.path would keep them on disk")
        return Store(wanted.max_events, wanted.max_bytes)
    kept = Store(wanted.max_events, wanted.max_bytes, DiskShelf(path, sync=wanted.sync))
    if len(kept):
        log.info("%d events or notices of an earlier run wait in %s", len(kept), path)
    return kept


def incidents(settings: Settings, state: str | None) -> Incidents:
    """Incidents as they stood in `state`."""
    wanted = settings.incidents
    return Incidents(Window(wanted.seconds, wanted.frames, wanted.shift), state)


def device(settings: Settings) -> Device:
    """The processor to use, TensorFlow set up for it. Raises DeviceError."""
    wanted = settings.inference
    return prepare_tensorflow(wanted.device, wanted.precision, wanted.threads)


def classifier(
    settings: Settings,
    bundle: Bundle,
    device: Device | None = None,
    gate: Gate | None = None,
) -> Classifier:
    """The network, warm, on the fastest runtime that answers as it should. Raises DeviceError or ModelError.

    Without a `device` that TensorFlow was set up for, it is imported only if something needs it.
    """
    wanted = settings.inference
    return ready(
        bundle,
        Wanted(
            device=wanted.device,
            runtime=wanted.runtime,
            precision=wanted.precision,
            threads=wanted.threads,
            batch=wanted.batch,
            max_n=settings.explain.max_n,
            scoring=settings.explain.scoring,
            threshold=settings.model.threshold,
        ),
        device=device,
        gate=gate,
    )


def gate(settings: Settings, expected: Expected) -> Gate:
    """Between verdicts and explanations; `expected` tells when the next frame is."""
    return Gate(settings.explain.budget, expected)


def judgement(settings: Settings, bundle: Bundle, classify: Classify) -> Judgement:
    """What is applied to every frame."""
    card, familiarity, threshold = bundle.card, bundle.familiarity, settings.model.threshold
    clean = next(name for index, name in enumerate(card.classes) if index != card.defect_class)
    return Judgement(
        classify=classify,
        threshold=card.threshold if threshold is None else threshold,
        labels=(clean, card.classes[card.defect_class]),
        batch=settings.inference.batch,
        distance=familiarity.distance if familiarity else None,
        limit=familiarity.limit if familiarity else float("inf"),
    )


def explaining(settings: Settings, card: Card, explain: Explain) -> Explaining:
    """How flagged frames are explained and located."""
    wanted = settings.explain
    return Explaining(
        explain=explain if wanted.enabled else None,
        max_n=wanted.max_n,
        budget=wanted.budget,
        deadline=wanted.deadline,
        threshold=card.localisation.threshold if wanted.threshold is None else wanted.threshold,
        minimum_area=wanted.minimum_area,
        input_size=card.input_size,
        cell_offset=card.cell_offset,
        jpeg_quality=settings.annotate.jpeg_quality,
        raw_frames=settings.redis.raw_frames,
    )


def camera_maker(settings: Settings, input_size: tuple[int, int]) -> Callable[..., Camera]:
    """Makes a camera, not started, from its settings and the callbacks of `Camera`.

    Its capture process brings pictures to `input_size` (height, width).
    """

    def make(wanted: CameraSettings, **callbacks: Any) -> Camera:
        what = order(settings, wanted, input_size)
        return Camera(
            wanted.name,
            partial(launch, wanted.name, what),
            every=what.every,
            buffer=wanted.buffer,
            silence=wanted.silence,
            opening=wanted.open_timeout + wanted.read_timeout + _LEEWAY,
            max_age=wanted.max_age,
            expected=wanted.expected_fps,
            finite=not what.reopen,
            **callbacks,
        )

    return make


def order(settings: Settings, wanted: CameraSettings, input_size: tuple[int, int]) -> Order:
    """What is to be read of a camera, and how, for a network of `input_size` (height, width)."""
    roi = None
    if wanted.roi is not None:
        left, top, width, height = wanted.roi
        roi = left, top, left + width, top + height
    return Order(
        source=wanted.source,
        every=wanted.inspects_every_frame,
        # A camera comes back by itself; a folder or file that is not there is a mistake to mend.
        reopen=wanted.loop or parse_address(wanted.source).kind != "files",
        input_size=input_size,
        # Waiting, in a batch, waiting for an explanation, and being written.
        slots=wanted.buffer + settings.inference.batch + IN_PLACE + 2,
        fps=wanted.fps,
        loop=wanted.loop,
        open_timeout=wanted.open_timeout,
        read_timeout=wanted.read_timeout,
        roi=roi,
        tiles=wanted.tiles,
        overlap=wanted.overlap,
        frozen=wanted.frozen_after,
        decode=wanted.decode,
        limits=limits(settings, wanted),
    )


def limits(settings: Settings, wanted: CameraSettings) -> Limits | None:
    """What this camera's pictures must be before they are judged; None where that is not looked at."""
    sanity = wanted.sanity or settings.sanity
    return Limits(**sanity.model_dump(exclude={"enabled"})) if sanity.enabled else None
