"""All checks, one after the other: from settings to what each check wants to know."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from monitor import assembly
from monitor.capture.source import open_source
from monitor.classify.bundle import load_bundle
from monitor.doctor import cameras as looking
from monitor.doctor.answer import Answer, not_ok, skipped
from monitor.doctor.clock import steady, time_of_day
from monitor.doctor.disk import outbox
from monitor.doctor.memory import shared_memory
from monitor.doctor.network import device_answer, model_answer
from monitor.doctor.port import metrics_port
from monitor.doctor.server import server_answers
from monitor.errors import UsageError
from monitor.models import shipped_model
from monitor.publish.connection import Server
from monitor.publish.keys import Keys
from monitor.settings import Settings

_PATIENCE = 20.0
"""Seconds that all cameras together may take; a stream has 5 to be opened and 5 to show a picture."""
_UNSEEN = (1080, 1920)
"""Height and width assumed of a camera that could not be looked at."""
_BESIDE = 2
"""Frames of a camera beside those that wait: one being read, one being judged."""


def default_settings() -> Settings:
    """What is in force without a file: no camera, every other default."""
    return Settings.model_construct(camera=())


def examine(settings: Settings, *, pictures: Path | None = None) -> Iterator[Answer]:
    """Look at everything a run with these settings needs; cameras' pictures go to the folder `pictures`."""
    answer, device = device_answer(partial(assembly.device, settings))
    yield answer
    yield model_answer(
        lambda: load_bundle(shipped_model(settings.model.path)),
        partial(assembly.classifier, settings),
        device,
    )
    looks = _look(settings)
    yield from (look.answer for look in looks)
    if not looks:
        yield skipped("cameras", "no settings file is given, so none is known", "name one with -c")
    elif pictures is not None:
        yield looking.save_pictures(looks, [camera.name for camera in settings.camera], pictures)
    yield from _server(settings)
    yield outbox(
        assembly.outbox_path(settings),
        max_bytes=settings.outbox.max_bytes,
        power=settings.outbox.sync == "power",
    )
    yield steady()
    yield time_of_day()
    yield metrics_port(settings.metrics.host, settings.metrics.port)
    yield shared_memory(_needed(settings, looks))


def _look(settings: Settings) -> list[looking.Look]:
    wanted = [
        looking.Camera(
            camera.name,
            camera.source,
            partial(
                open_source,
                camera.source,
                fps=camera.fps,
                loop=camera.loop,
                own_rate=not camera.inspects_every_frame,
            ),
            assembly.views(camera),
        )
        for camera in settings.camera
    ]
    return looking.look_at_all(wanted, _PATIENCE) if wanted else []


def _server(settings: Settings) -> Iterator[Answer]:
    redis = settings.redis
    try:
        keys = Keys(redis.prefix)
        server = Server(
            redis.url.get_secret_value(), keys, timeout=redis.timeout, access=assembly.access(settings)
        )
    except UsageError as error:
        yield not_ok("redis", str(error), "mend redis.url or redis.prefix in the settings")
        return
    try:
        yield from server_answers(server, keys, replicas=redis.replicas)
    finally:
        server.close()


def _needed(settings: Settings, looks: list[looking.Look]) -> int:
    """Bytes of all frames that may be in memory at once."""
    total = 0
    for camera, look in zip(settings.camera, looks, strict=True):
        height, width = _UNSEEN if look.image is None else look.image.shape[:2]
        total += (camera.buffer + _BESIDE) * height * width * 3
    return total
