"""Build the models from the settings: which model classifies which camera, on which device."""

import logging

from monitor.inference.candidates import InferenceOptions
from monitor.inference.device import ComputeDevice, configure_tensorflow
from monitor.inference.handle import ModelHandle, ModelSpec
from monitor.inference.local import LocalModel
from monitor.inference.remote import PoolClient, PoolModel, PoolOptions
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle, load_bundle
from monitor.models.card import ModelCard
from monitor.models.registry import resolve_model_path
from monitor.pipeline.explanation_stage import ExplanationConfig
from monitor.settings import CameraSettings, Settings

logger = logging.getLogger(__name__)


def device(settings: Settings) -> ComputeDevice:
    """Select the device and configure TensorFlow for it. Raises DeviceError."""
    options = settings.inference
    return configure_tensorflow(options.device, options.precision, options.threads)


def build_model(
    settings: Settings, bundle: ModelBundle, scheduler: DeviceScheduler | None = None
) -> LocalModel:
    """Build the model of `bundle` on this machine, not loaded; settings override values of its card."""
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


def build_handle(settings: Settings, bundle: ModelBundle, scheduler: DeviceScheduler) -> ModelHandle:
    """Build the model of `bundle`, not loaded: on this machine or, with `inference.pool`, in a pool."""
    model, chosen = build_model(settings, bundle, scheduler), settings.inference
    if chosen.pool is None:
        return model
    token = chosen.pool_token
    options = PoolOptions(
        url=chosen.pool,
        deadline=chosen.pool_deadline,
        fallback=chosen.fallback,
        token=None if token is None else token.get_secret_value(),
        tls_ca=chosen.pool_tls_ca,
    )
    return PoolModel(model, PoolClient(options), options)


def build_router(settings: Settings, scheduler: DeviceScheduler) -> ModelRouter:
    """Build the models of all cameras, not loaded, with a shared `scheduler`. Raises ModelError."""
    bundle = load_bundle(resolve_model_path(settings.model.path))
    for camera in cameras_cut_otherwise(settings, bundle.card):
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
    return ModelRouter(build_handle(settings, bundle, scheduler))


def cameras_cut_otherwise(settings: Settings, card: ModelCard) -> list[CameraSettings]:
    """Return the cameras whose tiles differ from those that the model was trained on.

    A model that was trained on whole frames fits any tiles that show its surface at the same scale.
    """
    trained = card.training
    if trained.tiles == (1, 1):
        return []
    return [
        camera
        for camera in settings.camera
        if (camera.tiles, camera.overlap) != (trained.tiles, trained.overlap)
    ]


def share_networks(fresh: ModelRouter, running: ModelRouter) -> None:
    """Let models of `fresh` reuse the graphs of `running` models that differ in thresholds only."""
    for model in map(_on_this_machine, fresh.handles):
        for other in map(_on_this_machine, running.handles):
            if isinstance(model, LocalModel) and isinstance(other, LocalModel):
                model.share_network(other)


def _on_this_machine(handle: ModelHandle) -> ModelHandle:
    return handle.deputy if isinstance(handle, PoolModel) else handle


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
    )
