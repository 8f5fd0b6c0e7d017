"""Build the models from the settings: which model classifies which camera, on which device."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from monitor.inference.candidates import InferenceOptions
from monitor.inference.device import ComputeDevice, configure_tensorflow
from monitor.inference.handle import ModelHandle, ModelSpec
from monitor.inference.local import LocalModel
from monitor.inference.remote import PoolModel, PoolOptions
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle, load_bundle
from monitor.models.card import ModelCard
from monitor.models.registry import resolve_model_path
from monitor.pipeline.explanation_stage import ExplanationConfig
from monitor.pipeline.interfaces import ignore
from monitor.settings import CameraSettings, Settings
from monitor.settings.schema import ModelSettings

logger = logging.getLogger(__name__)


def device(settings: Settings) -> ComputeDevice:
    """Select the device and configure TensorFlow for it. Raises DeviceError."""
    options = settings.inference
    return configure_tensorflow(options.device, options.precision, options.threads)


def build_model(
    settings: Settings, bundle: ModelBundle, scheduler: DeviceScheduler | None = None
) -> LocalModel:
    """Build the model of `bundle`, not loaded; settings override values of its card."""
    options, explain = settings.inference, settings.explain
    spec = ModelSpec.from_card(
        bundle.card,
        settings.model.threshold,
        max_n=explain.max_n,
        scoring=None if explain.scoring == "card" else explain.scoring,
        threshold=explain.threshold,
    )
    return LocalModel(
        bundle,
        InferenceOptions(
            device=options.device,
            runtime=options.runtime,
            precision=options.precision,
            threads=options.threads,
            batch=options.batch,
        ),
        spec,
        scheduler,
    )


def build_handle(
    settings: Settings, bundle: ModelBundle, scheduler: DeviceScheduler, on_pool_answer: Callable[[str], None]
) -> LocalModel | PoolModel:
    """Build the model of `bundle`, not loaded: on this machine or, with `inference.pool`, in a pool."""
    model, options = build_model(settings, bundle, scheduler), pool_options(settings)
    if options is None:
        return model
    deputy = model if settings.inference.fallback == "local" else None
    return PoolModel(model.spec, options, deputy, on_pool_answer)


def pool_options(settings: Settings) -> PoolOptions | None:
    """Return how the pool is used; None without one."""
    inference = settings.inference
    if inference.pool is None:
        return None
    token = inference.pool_token
    return PoolOptions(
        url=inference.pool,
        deadline=inference.pool_deadline,
        token=None if token is None else token.get_secret_value(),
        tls_ca=inference.pool_tls_ca,
    )


def build_router(
    settings: Settings,
    scheduler: DeviceScheduler,
    running: ModelRouter | None = None,
    on_pool_answer: Callable[[str], None] = ignore,
) -> ModelRouter:
    """Build the models of all cameras, not loaded, with a shared `scheduler`. Raises MonitorError.

    A model of `running` is used again if nothing that it was built from has changed, and its graphs if only
    thresholds have. `on_pool_answer`: see `PoolModel`.
    """
    others = settings.model_copy(update={"model": ModelSettings()})  # `model.threshold` is not theirs
    default = resolve_model_path(settings.model.path)
    handles: dict[Path, ModelHandle] = {}
    models: dict[str, ModelHandle] = {}
    for path, cameras in cameras_by_model(settings).items():
        bundle = _load_for(cameras, path)
        model = build_handle(settings if path == default else others, bundle, scheduler, on_pool_answer)
        handles[path] = model if running is None else _reuse(model, running)
        models |= {camera.name: handles[path] for camera in cameras if camera.model is not None}
    return ModelRouter(
        handles.get(default, next(iter(handles.values()))),
        models,
        {camera.name: camera.threshold for camera in settings.camera if camera.threshold is not None},
        settings.recipe,
        _build_shadows(others, scheduler, running),
    )


def _build_shadows(
    settings: Settings, scheduler: DeviceScheduler, running: ModelRouter | None
) -> Mapping[str, ModelHandle]:
    """Build the shadow models by camera; none without samples, which have their differences."""
    found: dict[Path, list[CameraSettings]] = {}
    for camera in settings.camera if settings.samples.publish else ():
        if camera.shadow is not None:
            found.setdefault(resolve_model_path(camera.shadow), []).append(camera)
    shadows: dict[str, ModelHandle] = {}
    for path, cameras in found.items():
        model = build_model(settings, _load_for(cameras, path), scheduler)
        handle = model if running is None else _reuse(model, running)
        shadows |= {camera.name: handle for camera in cameras}
    return shadows


def _load_for(cameras: Sequence[CameraSettings], path: Path) -> ModelBundle:
    """Load the bundle at `path`; warn of cameras that it was not trained for. Raises ModelError."""
    bundle = load_bundle(path)
    for camera in cameras_cut_otherwise(cameras, bundle.card):
        logger.warning(
            "camera tiles differ from the model's training",
            extra={
                "camera": camera.name,
                "tiles": camera.tiles,
                "overlap": camera.overlap,
                "trained_tiles": bundle.card.training.tiles,
                "trained_overlap": bundle.card.training.overlap,
            },
        )
    return bundle


def cameras_by_model(settings: Settings) -> Mapping[Path, Sequence[CameraSettings]]:
    """Return the cameras of each model that is used, by the folder of its bundle. Raises ModelError.

    Without cameras it is the model of `[model]`.
    """
    if not settings.camera:
        return {resolve_model_path(settings.model.path): []}
    found: dict[Path, list[CameraSettings]] = {}
    for camera in settings.camera:
        found.setdefault(resolve_model_path(camera.model or settings.model.path), []).append(camera)
    return found


def cameras_cut_otherwise(cameras: Sequence[CameraSettings], card: ModelCard) -> list[CameraSettings]:
    """Return the cameras whose tiles differ from those that their model was trained on.

    A model that was trained on whole frames fits any tiles that show its surface at the same scale.
    """
    trained = card.training
    if trained.tiles == (1, 1):
        return []
    return [
        camera for camera in cameras if (camera.tiles, camera.overlap) != (trained.tiles, trained.overlap)
    ]


def local_models(handles: Iterable[ModelHandle]) -> list[LocalModel]:
    """Return those of `handles` that this machine runs, also those that do so for a pool."""
    found = [it.deputy if isinstance(it, PoolModel) else it for it in handles]
    return [model for model in found if isinstance(model, LocalModel)]


def pool_problems(router: ModelRouter) -> list[str]:
    """Return what is wrong with the pool, a sentence each."""
    found = [it.problem for it in router.handles if isinstance(it, PoolModel)]
    return [problem for problem in dict.fromkeys(found) if problem is not None]


def _reuse(model: LocalModel | PoolModel, running: ModelRouter) -> ModelHandle:
    """Return the equal model of `running`, else `model`; it shares graphs if thresholds alone differ."""
    loaded = (*running.handles, *running.shadows)
    for other in loaded:
        if getattr(other, "identity", None) == model.identity:
            return other
    here = model.deputy if isinstance(model, PoolModel) else model
    if isinstance(here, LocalModel):
        for network in local_models(loaded):
            here.share_network(network)
    return model


def explanation_config(settings: Settings) -> ExplanationConfig:
    """Return how flagged frames are explained and located."""
    explain = settings.explain
    return ExplanationConfig(
        enabled=explain.enabled,
        budget=explain.budget,
        deadline=explain.deadline,
        queue_limit=explain.queue,
        minimum_area=explain.minimum_area,
        heat_style=settings.annotate.heat,
        jpeg_quality=settings.annotate.jpeg_quality,
        raw_frames=settings.redis.raw_frames,
        cameras={camera.name: camera.explain for camera in settings.camera if camera.explain is not None},
    )
