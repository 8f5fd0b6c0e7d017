"""All checks in their order: turns settings into the input of each check."""

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
from monitor.tools.doctor import cameras as camera_checks
from monitor.tools.doctor.clock import check_monotonic_clock, check_time_sync
from monitor.tools.doctor.metrics_port import check_port
from monitor.tools.doctor.model import check_device, check_model
from monitor.tools.doctor.outbox import check_set_aside
from monitor.tools.doctor.pool import check_pool
from monitor.tools.doctor.redis import check_redis
from monitor.tools.doctor.resources import check_outbox_disk, check_shared_memory
from monitor.tools.doctor.result import CheckResult, failed, ok, skipped

_EXTRA_TIME = 10.0
"""Seconds that all cameras together may take beyond the timeouts of the slowest one."""


_ASSUMED_SIZE = (1080, 1920)
"""Height and width that are assumed of a camera without an image."""


_INPUT = 224
"""Height and width of the network's input where the model could not be run."""


def default_settings() -> Settings:
    """Return the settings without a file: no camera, every other default."""
    return Settings.model_construct(camera=())


def run_checks(settings: Settings, *, pictures: Path | None = None) -> Iterator[CheckResult]:
    """Check everything that a run with these settings needs; saves camera images to the folder `pictures`."""
    result, device = check_device(partial(build_inference.device, settings))
    yield result
    models = []
    named = [path for camera in settings.camera for path in (camera.model, camera.shadow) if path]
    for path in dict.fromkeys([settings.model.path, *named]):
        models.append(
            check_model(
                lambda path=path: load_bundle(resolve_model_path(path)),  # type: ignore[misc]
                partial(build_inference.build_model, settings),
                device,
            )
        )
        yield models[-1]
    if settings.camera and all(model.result == "ok" for model in models):
        yield from _check_tiles(settings)
    pool = build_inference.pool_options(settings)
    if pool is not None and all(model.result == "ok" for model in models):
        for folder in build_inference.cameras_by_model(settings):
            yield check_pool(pool, load_bundle(folder).card)
    figures = models[0].figures
    size = int(figures.get("input_height", _INPUT)), int(figures.get("input_width", _INPUT))
    configs = [build_capture.capture_config(settings, camera, size) for camera in settings.camera]
    checks = _check_cameras(settings, configs)
    yield from (check.answer for check in checks)
    if not checks:
        yield skipped("cameras", "no configuration file was given, so no camera is known", "name one with -c")
    elif pictures is not None:
        yield camera_checks.save_pictures(checks, [camera.name for camera in settings.camera], pictures)
    yield from _check_redis(settings)
    yield check_outbox_disk(
        build_delivery.outbox_path(settings),
        max_bytes=settings.outbox.max_bytes,
        power=settings.outbox.sync == "power",
    )
    yield check_set_aside(build_delivery.outbox_path(settings))
    yield check_monotonic_clock()
    yield check_time_sync()
    yield check_port(settings.metrics.host, settings.metrics.port)
    yield check_shared_memory(_buffer_bytes(configs, checks), settings.explain.queue_bytes)


def _check_tiles(settings: Settings) -> Iterator[CheckResult]:
    """Check that cameras cut their frames as those of their model's training were."""
    for path, cameras in build_inference.cameras_by_model(settings).items():
        card = load_bundle(path).card
        names = [camera.name for camera in build_inference.cameras_cut_otherwise(cameras, card)]
        if not names:
            yield ok("tiles", f"the tiles of every camera fit model {card.name}")
            continue
        trained = f"tiles = {list(card.training.tiles)} and overlap = {card.training.overlap:g}"
        yield failed(
            "tiles",
            f"model {card.name} was trained on {trained}; cut otherwise: camera {', '.join(names)}",
            f"set {trained} for these cameras, or train a model with --like FILE --camera NAME",
        )


def _check_cameras(settings: Settings, configs: list[CaptureConfig]) -> list[camera_checks.CameraCheck]:
    targets = [
        camera_checks.CameraTarget(
            camera.name,
            camera.source,
            replace(config, inspected_files=None).open_source,
            config.tile_boxes,
            config.unusable_reason,
        )
        for camera, config in zip(settings.camera, configs, strict=True)
    ]
    slowest = max((camera.open_timeout + camera.read_timeout for camera in settings.camera), default=0.0)
    return camera_checks.look_at_all(targets, slowest + _EXTRA_TIME) if targets else []


def _check_redis(settings: Settings) -> Iterator[CheckResult]:
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
        yield failed("redis", str(error), "correct redis.url or redis.prefix in the settings")
        return
    try:
        yield from check_redis(
            server,
            keys,
            replicas=redis.replicas,
            durable=redis.durable,
            optional=[
                *([keys.verdicts] if settings.verdicts.publish else ()),
                *([keys.samples] if settings.samples.publish else ()),
            ],
        )
    finally:
        server.close()


def _buffer_bytes(configs: list[CaptureConfig], checks: list[camera_checks.CameraCheck]) -> int:
    """Bytes of all frames that may be in memory at once, with their tiles at the network's size."""
    total = 0
    for config, check in zip(configs, checks, strict=True):
        height, width = _ASSUMED_SIZE if check.image is None else check.image.shape[:2]
        tiles = config.tiles[0] * config.tiles[1] * config.input_size[0] * config.input_size[1]
        total += config.buffer_slots * 3 * (height * width + tiles)
    return total
