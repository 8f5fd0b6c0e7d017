"""All checks, one after the other: from settings to what each check wants to know."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from monitor.bootstrap import capture as build_capture
from monitor.bootstrap import delivery as build_delivery
from monitor.bootstrap import inference as build_inference
from monitor.capture.config import CaptureConfig
from monitor.errors import UsageError
from monitor.models.bundle import load_bundle
from monitor.models.registry import resolve_model_path
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.settings import Settings
from monitor.tools.doctor import cameras as looking
from monitor.tools.doctor.clock import check_monotonic_clock, check_time_sync
from monitor.tools.doctor.metrics_port import check_port
from monitor.tools.doctor.model import check_device, check_model
from monitor.tools.doctor.outbox import check_set_aside
from monitor.tools.doctor.redis import check_redis
from monitor.tools.doctor.resources import check_outbox_disk, check_shared_memory
from monitor.tools.doctor.result import CheckResult, failed, skipped

_PATIENCE = 10.0
"""Seconds that all cameras together may take beyond what the slowest may need to open and to read."""


_UNSEEN = (1080, 1920)
"""Height and width assumed of a camera that could not be looked at."""


_INPUT = 224
"""Height and width of the network's input, if the model could not be run."""


def default_settings() -> Settings:
    """What is in force without a file: no camera, every other default."""
    return Settings.model_construct(camera=())


def run_checks(settings: Settings, *, pictures: Path | None = None) -> Iterator[CheckResult]:
    """Look at everything a run with these settings needs; cameras' pictures go to the folder `pictures`."""
    answer, device = check_device(partial(build_inference.device, settings))
    yield answer
    model = check_model(
        lambda: load_bundle(resolve_model_path(settings.model.path)),
        partial(build_inference.build_model, settings),
        device,
    )
    yield model
    figures = model.figures
    size = int(figures.get("input_height", _INPUT)), int(figures.get("input_width", _INPUT))
    orders = [build_capture.capture_config(settings, camera, size) for camera in settings.camera]
    looks = _look(settings, orders)
    yield from (look.answer for look in looks)
    if not looks:
        yield skipped("cameras", "no settings file is given, so none is known", "name one with -c")
    elif pictures is not None:
        yield looking.save_pictures(looks, [camera.name for camera in settings.camera], pictures)
    yield from _server(settings)
    yield check_outbox_disk(
        build_delivery.outbox_path(settings),
        max_bytes=settings.outbox.max_bytes,
        power=settings.outbox.sync == "power",
    )
    yield check_set_aside(build_delivery.outbox_path(settings))
    yield check_monotonic_clock()
    yield check_time_sync()
    yield check_port(settings.metrics.host, settings.metrics.port)
    yield check_shared_memory(_needed(orders, looks), settings.explain.queue_bytes)


def _look(settings: Settings, orders: list[CaptureConfig]) -> list[looking.CameraCheck]:
    wanted = [
        looking.CameraTarget(
            camera.name,
            camera.source,
            replace(order, inspected_files=None).open_source,
            order.tile_boxes,
            order.unusable_reason,
        )
        for camera, order in zip(settings.camera, orders, strict=True)
    ]
    slowest = max((camera.open_timeout + camera.read_timeout for camera in settings.camera), default=0.0)
    return looking.look_at_all(wanted, slowest + _PATIENCE) if wanted else []


def _server(settings: Settings) -> Iterator[CheckResult]:
    redis = settings.redis
    try:
        keys = RedisKeys(redis.prefix)
        server = RedisConnection(
            redis.url.get_secret_value(),
            keys,
            timeout=redis.timeout,
            access=build_delivery.redis_credentials(settings),
        )
    except UsageError as error:
        yield failed("redis", str(error), "mend redis.url or redis.prefix in the settings")
        return
    try:
        yield from check_redis(server, keys, replicas=redis.replicas, durable=redis.durable)
    finally:
        server.close()


def _needed(orders: list[CaptureConfig], looks: list[looking.CameraCheck]) -> int:
    """Bytes of all frames that may be in memory at once, with their parts at the network's size."""
    total = 0
    for order, look in zip(orders, looks, strict=True):
        height, width = _UNSEEN if look.image is None else look.image.shape[:2]
        parts = order.tiles[0] * order.tiles[1] * order.input_size[0] * order.input_size[1]
        total += order.buffer_slots * 3 * (height * width + parts)
    return total
