"""From a bundle to a network: built once, cached, and checked before it is trusted.

`auto` selects the fastest backend, in an order that was measured (`bench classify`), whose answers to the
bundle's reference images equal those of single precision; a reduced precision only if it is faster on this
machine. Where one fails, the next is tried, and the log gives the reason. All are compared with TensorFlow in
single precision.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monitor.errors import DeviceError, ModelError, first_line
from monitor.inference.artifact_cache import cached_artifact, find_cache_dir
from monitor.inference.backends.base import Backend, BackendName
from monitor.inference.candidates import InferenceOptions, candidate_backends, detect_device
from monitor.inference.device import ComputeDevice, configure_tensorflow, import_tensorflow
from monitor.inference.handle import ModelSpec
from monitor.inference.network import Network
from monitor.inference.reference_check import (
    ReferenceScores,
    card_mismatch,
    reference_mismatch,
    score_references,
)
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle
from monitor.models.preprocessing import preprocess_tf

logger = logging.getLogger(__name__)


_MIN_SPEEDUP = 1.1
"""How many times as fast as single precision a reduced one must be. Some processors with the instructions are
slower by them. One image at a time tells nothing about a GPU, where this is not checked."""


_CACHE_KEY_SOURCES = ("inference/**/*.py", "models/preprocessing.py", "explain/score_cam.py")
"""Of this package: the code by which graphs and files are made. Files of another version are made again."""


_CACHE_KEY_PACKAGES = ("defect-monitor", "tensorflow", "keras", "openvino")


def load_network(
    bundle: ModelBundle,
    spec: ModelSpec,
    options: InferenceOptions,
    scheduler: DeviceScheduler | None = None,
) -> Network:
    """Load the network of `bundle` on the best backend that meets `options`, warmed up.

    `scheduler` decides who uses the device. Raises DeviceError or ModelError.
    """
    device = detect_device(options)
    builder = _NetworkBuilder(bundle, spec, options, device, scheduler or DeviceScheduler())
    candidates = list(
        candidate_backends(
            options,
            device,
            has_references=bool(bundle.references),
            has_screening=bundle.screening is not None,
        )
    )
    for index, (name, precision) in enumerate(candidates):
        is_last = index == len(candidates) - 1
        try:
            network, mismatch = builder.build(name, replace(device, runtime=name, precision=precision))
        except Exception as error:  # whatever a library raises over a graph it does not support
            if is_last and device.kind == "gpu" and options.device == options.runtime == "auto":
                logger.warning("the GPU cannot run the network, the CPU does: %s", first_line(error))
                return _load_on_cpu(bundle, spec, options, scheduler)
            if is_last or isinstance(error, ModelError | DeviceError):
                raise _as_model_error(name, error) from error
            logger.warning("%s cannot run the network: %s", name, error)
            continue
        if mismatch and not is_last:
            logger.warning("%s in %s is rejected: %s", name, precision, mismatch)
            continue
        network.benchmark()
        must_be_faster = options.precision == "auto" and device.kind == "cpu"
        if must_be_faster and (speedup := network.speedup() or _MIN_SPEEDUP) < _MIN_SPEEDUP:
            logger.info("%s in %s is rejected: it is %.2f times as fast as fp32", name, precision, speedup)
            continue
        if mismatch:
            logger.warning("%s in %s differs from what the bundle expects: %s", name, precision, mismatch)
        logger.info(
            "network ready",
            extra={
                "runtime": name,
                "precision": precision,
                "device": device.description,
                "speedup": round(network.speedup() or 1.0, 2),
                "references_checked": len(bundle.references),
            },
        )
        return network
    raise AssertionError("the last candidate is single precision, which is not rejected")


def _load_on_cpu(
    bundle: ModelBundle, spec: ModelSpec, options: InferenceOptions, scheduler: DeviceScheduler | None
) -> Network:
    """Load the network with OpenVINO: TensorFlow is set up for the GPU, once a process."""
    with import_tensorflow().device("/CPU:0"):
        on_cpu = replace(options, device="cpu", runtime="openvino", precision="auto")
        return load_network(bundle, spec, on_cpu, scheduler)


def _as_model_error(name: str, error: Exception) -> Exception:
    if isinstance(error, ModelError | DeviceError):
        return error
    return ModelError(f"{name} cannot run the network: {first_line(error)}")


class _NetworkBuilder:
    """Builds networks of one bundle; the Keras model is loaded at most once, and only if it is needed."""

    def __init__(
        self,
        bundle: ModelBundle,
        spec: ModelSpec,
        options: InferenceOptions,
        device: ComputeDevice,
        scheduler: DeviceScheduler,
    ) -> None:
        self._bundle = bundle
        self._spec = spec
        self._options = options
        self._device = device
        self._scheduler = scheduler
        self._has_warned = False
        self._folder = find_cache_dir(bundle.path, os.environ)

    def build(self, name: BackendName, device: ComputeDevice) -> tuple[Network, str | None]:
        """Return a network, and what of its answers differs from single precision."""
        backend = self._backend(name, device)
        export = partial(self._export, backend, device)
        with cached_artifact(self._folder, self._cache_key(device), export) as (folder, metadata):
            network = self._load(backend, folder, device, self._options.batch)
        expected = [(score, None if peak is None else tuple(peak)) for score, peak in metadata["expected"]]
        difference = card_mismatch(self._bundle, expected, self._spec.threshold)
        if difference and not self._has_warned:
            self._has_warned = True
            logger.warning("single precision on this machine differs from the model's card: %s", difference)
        return network, reference_mismatch(network, self._bundle, expected, self._spec.threshold)

    def _backend(self, name: BackendName, device: ComputeDevice) -> Backend:
        """Import the backend, now and not before."""
        if name == "openvino":
            from monitor.inference.backends.openvino import OpenVinoBackend  # noqa: PLC0415

            return OpenVinoBackend(self._options.threads)
        configure_tensorflow(device.kind, device.precision, self._options.threads)
        from monitor.inference.backends.tensorflow import TensorFlowBackend  # noqa: PLC0415

        return TensorFlowBackend(use_xla=device.kind == "gpu")

    def _cache_key(self, device: ComputeDevice) -> Mapping[str, Any]:
        """Everything that decides what is exported."""
        card = self._bundle.card.model_dump(mode="json", exclude={"training", "figures", "threshold_origin"})
        return {
            "code": _source_digest(),
            "card": card,
            "runtime": device.runtime,
            "device": device.kind,
            "precision": device.precision,
            "regions": self._spec.regions.model_dump(mode="json"),
            "threshold": self._spec.threshold,
            "versions": {package: _version(package) for package in _CACHE_KEY_PACKAGES},
        }

    def _export(self, backend: Backend, device: ComputeDevice, folder: Path) -> Mapping[str, Any]:
        logger.info(
            "building the network for %s in %s; it is cached for the next start",
            backend.name,
            device.precision,
        )
        # OpenVINO computes a float32 graph in bfloat16; TensorFlow needs another graph.
        policies: Mapping[Any, Any] = {"bf16": "mixed_bfloat16", "mixed-float16": "mixed_float16"}
        policy = "float32" if backend.name == "openvino" else policies.get(device.precision, "float32")
        graphs = dict(self._graphs(policy))
        if device.precision != "fp32":
            graphs["classify_fp32"] = self._graphs("float32")["classify"]
        if device.precision == "screened":
            graphs["screen"] = self._screening_graph()
            del graphs["classify"]
        backend.export(graphs, folder)
        return {"expected": self._expected()}

    def _load(self, backend: Backend, folder: Path, device: ComputeDevice, batch: int) -> Network:
        screening = self._bundle.screening if device.precision == "screened" else None
        return Network(
            backend,
            folder,
            device=device,
            size=self._spec.input_size,
            batch=batch,
            threshold=self._spec.threshold,
            max_n=self._spec.regions.max_n,
            step=self._step,
            scheduler=self._scheduler,
            screening_limit=None if screening is None else screening.limit,
        )

    @property
    def _step(self) -> int:
        """Maps scored at a time: on a GPU all at once; on a CPU one, so that a verdict waits least for it."""
        return self._spec.regions.max_n if self._device.kind == "gpu" else 1

    def _expected(self) -> ReferenceScores:
        """Score the references with TensorFlow in single precision."""
        device = ComputeDevice("cpu", "/CPU:0", "CPU", "fp32")
        backend = self._backend("tensorflow", device)
        with TemporaryDirectory(prefix="defect-monitor-") as scratch:
            backend.export(self._graphs("float32"), Path(scratch))
            network = self._load(backend, Path(scratch), device, 1)
            return score_references(network, self._bundle, self._spec.threshold)

    @cached_property
    def _model(self) -> Any:
        self._backend("tensorflow", self._device)  # TensorFlow is set up before Keras imports it
        return self._bundle.keras_model()

    def _graphs(self, policy: Any) -> Mapping[str, Any]:
        model = self._model  # first: TensorFlow must be set up, and kept quiet, before Keras imports it
        from monitor.inference.graphs import build_model_graphs  # noqa: PLC0415 (Keras: seconds)

        return build_model_graphs(
            self._bundle.card,
            model,
            step=self._step,
            scoring=self._spec.regions.scoring,
            policy=policy,
        )

    def _screening_graph(self) -> Any:
        from monitor.inference.graphs import build_screening  # noqa: PLC0415 (Keras: seconds)

        assert self._bundle.screening is not None, "`screened` is no candidate without"
        preprocess = partial(preprocess_tf, self._bundle.card)
        return build_screening(self._model, self._bundle.screening, preprocess)


def _source_digest() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for pattern in _CACHE_KEY_SOURCES:
        paths = sorted(package.glob(pattern))
        if not paths:
            raise AssertionError(f"no file matches {pattern}: a stale cache would stay valid")
        for path in paths:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
