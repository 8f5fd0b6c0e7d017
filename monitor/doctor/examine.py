"""All checks, one after the other: from settings to what each check wants to know."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from monitor import assembly
from monitor.capture.order import Order
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

_PATIENCE = 10.0
"""Seconds that all cameras together may take beyond what the slowest may need to open and to read."""
_UNSEEN = (1080, 1920)
"""Height and width assumed of a camera that could not be looked at."""
_INPUT = 224
"""Height and width of the network's input, if the model could not be run."""


def default_settings() -> Settings:
    """What is in force without a file: no camera, every other default."""
    return Settings.model_construct(camera=())


def examine(settings: Settings, *, pictures: Path | None = None) -> Iterator[Answer]:
    """Look at everything a run with these settings needs; cameras' pictures go to the folder `pictures`."""
    answer, device = device_answer(partial(assembly.device, settings))
    yield answer
    model = model_answer(
        lambda: load_bundle(shipped_model(settings.model.path)),
        partial(assembly.classifier, settings),
        device,
    )
    yield model
    figures = model.figures
    size = int(figures.get("input_height", _INPUT)), int(figures.get("input_width", _INPUT))
    orders = [assembly.order(settings, camera, size) for camera in settings.camera]
    looks = _look(settings, orders)
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
    yield shared_memory(_needed(orders, looks))


def _look(settings: Settings, orders: list[Order]) -> list[looking.Look]:
    wanted = [
        looking.Camera(camera.name, camera.source, order.open, order.boxes, order.amiss)
        for camera, order in zip(settings.camera, orders, strict=True)
    ]
    slowest = max((camera.open_timeout + camera.read_timeout for camera in settings.camera), default=0.0)
    return looking.look_at_all(wanted, slowest + _PATIENCE) if wanted else []


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


def _needed(orders: list[Order], looks: list[looking.Look]) -> int:
    """Bytes of all frames that may be in memory at once, with their parts at the network's size."""
    total = 0
    for order, look in zip(orders, looks, strict=True):
        height, width = _UNSEEN if look.image is None else look.image.shape[:2]
        parts = order.tiles[0] * order.tiles[1] * order.input_size[0] * order.input_size[1]
        total += order.slots * 3 * (height * width + parts)
    return total
