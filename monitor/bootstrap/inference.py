"""From settings to parts: the one place that turns them into plain values."""

from monitor.inference.candidates import InferenceOptions
from monitor.inference.device import ComputeDevice, configure_tensorflow
from monitor.inference.handle import Classify, Explain, ModelSpec
from monitor.inference.loader import load_classifier
from monitor.inference.local import LocalModel
from monitor.inference.scheduler import ArrivalForecast, DeviceScheduler
from monitor.models.bundle import ModelBundle
from monitor.models.card import ModelCard
from monitor.pipeline.explanation_stage import ExplanationConfig
from monitor.settings import Settings


def device(settings: Settings) -> ComputeDevice:
    """The processor to use, TensorFlow set up for it. Raises DeviceError."""
    wanted = settings.inference
    return configure_tensorflow(wanted.device, wanted.precision, wanted.threads)


def classifier(
    settings: Settings,
    bundle: ModelBundle,
    device: ComputeDevice | None = None,
    gate: DeviceScheduler | None = None,
) -> LocalModel:
    """The network, warm, on the fastest runtime that answers as it should. Raises DeviceError or ModelError.

    Without a `device` that TensorFlow was set up for, it is imported only if something needs it.
    """
    wanted = settings.inference
    return load_classifier(
        bundle,
        InferenceOptions(
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


def build_scheduler(settings: Settings, expected: ArrivalForecast) -> DeviceScheduler:
    """Between verdicts and explanations; `expected` tells when the next frame is."""
    return DeviceScheduler(settings.explain.budget, expected)


def model_spec(settings: Settings, bundle: ModelBundle, classify: Classify) -> ModelSpec:
    """What is applied to every frame."""
    card, familiarity, threshold = bundle.card, bundle.familiarity, settings.model.threshold
    clean = next(name for index, name in enumerate(card.classes) if index != card.defect_class)
    return ModelSpec(
        classify=classify,
        threshold=card.threshold if threshold is None else threshold,
        labels=(clean, card.classes[card.defect_class]),
        batch=settings.inference.batch,
        distance=familiarity.distance if familiarity else None,
        limit=familiarity.limit if familiarity else float("inf"),
    )


def explanation_config(settings: Settings, card: ModelCard, explain: Explain) -> ExplanationConfig:
    """How flagged frames are explained and located."""
    wanted = settings.explain
    return ExplanationConfig(
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
