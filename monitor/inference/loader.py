"""From a bundle to a classifier: made ready once, kept, and checked before it is trusted.

`auto` takes the fastest way, in an order that was measured (`bench classify`), whose answers to the bundle's
reference pictures are those of single precision; a reduced one only if it is faster on this machine. Where a
way fails, the next one is taken, and the log says why. What all are compared with is TensorFlow in single
precision.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from monitor.errors import DeviceError, ModelError
from monitor.inference.artifact_cache import cached_artifact, find_cache_dir
from monitor.inference.backends.base import Backend, BackendName, export_graphs
from monitor.inference.candidates import InferenceOptions, candidate_backends, detect_device
from monitor.inference.device import ComputeDevice, configure_tensorflow
from monitor.inference.local import LocalModel
from monitor.inference.precision import Precision, recheck_band
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle

ReferenceScores = Sequence[tuple[float, tuple[int, int] | None]]
"""Of each reference: its score, and the (row, column) of its heat's peak if it is flagged and has heat."""


SCORE_TOLERANCE = 0.02


PEAK_TOLERANCE = 1
"""What a way may differ by from single precision: in score, and in cells of the heat."""


def score_references(classifier: LocalModel, bundle: ModelBundle, threshold: float) -> ReferenceScores:
    """What the classifier says of the bundle's references."""
    found = []
    for reference in bundle.references:
        answer = classifier.classify(reference.picture[None])
        score, peak = float(answer.scores[0]), None
        if score >= threshold:
            heat, strength, _ = classifier.explain(reference.picture, answer.activations[0])
            if strength > 0:
                row, column = np.unravel_index(int(heat.argmax()), heat.shape)
                peak = int(row), int(column)
        found.append((score, peak))
    return found


def reference_mismatch(
    classifier: LocalModel, bundle: ModelBundle, expected: ReferenceScores, threshold: float
) -> str | None:
    """What the classifier says of the references that `expected` does not; None if all agrees well enough."""
    for number, ((score, peak), (wanted, cell)) in enumerate(
        zip(score_references(classifier, bundle, threshold), expected, strict=True), start=1
    ):
        name = f"reference picture {number}"
        if not abs(score - wanted) <= SCORE_TOLERANCE:  # so that a score that is not a number fails too
            return f"{name} scores {score:.3f} instead of {wanted:.3f}"
        if (score >= threshold) != (wanted >= threshold):
            return f"{name} has another verdict: it scores {score:.4f} instead of {wanted:.4f}"
        if (peak is None) != (cell is None):
            return f"{name} {'has no heat' if peak is None else 'has heat where there should be none'}"
        if peak and cell and max(abs(peak[0] - cell[0]), abs(peak[1] - cell[1])) > PEAK_TOLERANCE:
            return f"{name} has its warmest place at {peak} instead of {cell}"
    return None


log = logging.getLogger(__name__)


_CACHE_KEY_SOURCES = ("inference/**/*.py", "models/preprocessing.py", "explain/score_cam.py")
"""Of this package: the code by which graphs and files are made. What another version made is made again."""


_MIN_SPEEDUP = 1.1
"""How many times as fast as single precision a reduced one must be. Not every processor with the instructions
is: some take longer over them. One picture at a time says nothing of a GPU, where this is not asked."""


_CACHE_KEY_PACKAGES = ("defect-monitor", "tensorflow", "keras", "openvino", "onnxruntime", "tf2onnx")


def load_classifier(
    bundle: ModelBundle,
    wanted: InferenceOptions,
    *,
    device: ComputeDevice | None = None,
    gate: DeviceScheduler | None = None,
) -> LocalModel:
    """The classifier that `wanted` asks for, warm. Raises DeviceError or ModelError.

    `device` is what `prepare_tensorflow` took, where that was called already; `gate` says whose turn it is
    at the device.
    """
    device, prepared = (detect_device(wanted), False) if device is None else (device, True)
    workshop = _ClassifierBuilder(bundle, wanted, device, prepared, gate or DeviceScheduler())
    possible = list(candidate_backends(wanted, device, has_references=bool(bundle.references)))
    for place, (name, precision) in enumerate(possible):
        last = place == len(possible) - 1
        try:
            classifier, trouble = workshop.load_classifier(
                name, replace(device, runtime=name, precision=precision)
            )
        except Exception as error:  # whatever a library raises over a graph it does not like
            if last or isinstance(error, ModelError | DeviceError):
                raise _as_model_error(name, error) from error
            log.warning("%s cannot run the network: %s", name, error)
            continue
        if trouble and not last:
            log.warning("%s in %s is not taken: %s", name, precision, trouble)
            continue
        classifier.benchmark()
        weighed = wanted.precision == "auto" and device.kind == "cpu"
        if weighed and (gain := classifier.speedup() or _MIN_SPEEDUP) < _MIN_SPEEDUP:
            log.info("%s in %s is not taken: it is %.2f times as fast as fp32 here", name, precision, gain)
            continue
        if trouble:
            log.warning("%s in %s differs from what the bundle expects: %s", name, precision, trouble)
        log.info(
            "network ready", extra={"runtime": name, "precision": precision, "device": device.description}
        )
        return classifier
    raise AssertionError("there is always a way")


def _as_model_error(name: str, error: Exception) -> Exception:
    if isinstance(error, ModelError | DeviceError):
        return error
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(f"{name} cannot run the network: {first}")


class _ClassifierBuilder:
    """Makes classifiers of one bundle; builds the network once at most, and only if need be."""

    def __init__(
        self,
        bundle: ModelBundle,
        wanted: InferenceOptions,
        device: ComputeDevice,
        prepared: bool,
        gate: DeviceScheduler,
    ) -> None:
        self._prepared = prepared  # whether TensorFlow is set up
        self._bundle = bundle
        self._wanted = wanted
        self._gate = gate
        self._built: dict[bool, Mapping[str, bytes]] = {}
        self._device = device
        card = bundle.card
        self._scoring = card.localisation.scoring if wanted.scoring == "card" else wanted.scoring
        self._threshold = card.threshold if wanted.threshold is None else wanted.threshold
        self._folder = find_cache_dir(bundle.path, os.environ)

    def load_classifier(self, name: BackendName, device: ComputeDevice) -> tuple[LocalModel, str | None]:
        """A classifier, and what of its answers is not as single precision has them."""
        runtime = self._runtime(name, device)
        make = partial(self._make, runtime, device.precision)
        with cached_artifact(self._folder, self._cache_key(name, device), make) as (folder, remembered):
            classifier = self._load(runtime, folder, device, self._wanted.batch)
        expected = [(score, None if peak is None else tuple(peak)) for score, peak in remembered["expected"]]
        return classifier, reference_mismatch(classifier, self._bundle, expected, self._threshold)

    def _runtime(self, name: BackendName, device: ComputeDevice) -> Backend:
        """The runtime, imported now and not before."""
        if name == "openvino":
            from monitor.inference.backends.openvino import OpenVinoBackend  # noqa: PLC0415

            return OpenVinoBackend(self._wanted.threads)
        if name == "onnxruntime":
            from monitor.inference.backends.onnx import OnnxRuntime  # noqa: PLC0415

            return OnnxRuntime(self._wanted.threads)
        return self._tensorflow(device)

    def _tensorflow(self, device: ComputeDevice) -> Backend:
        if not self._prepared:
            configure_tensorflow(device.kind, device.precision, self._wanted.threads)
            self._prepared = True
        from monitor.inference.backends.tensorflow import TensorFlowBackend  # noqa: PLC0415

        return TensorFlowBackend(use_xla=device.kind == "gpu")

    def _cache_key(self, name: BackendName, device: ComputeDevice) -> Mapping[str, Any]:
        """All that decides what is made."""
        card = self._bundle.card.model_dump(mode="json", exclude={"training", "figures", "threshold_origin"})
        return {
            "code": _source_digest(),
            "card": card,
            "runtime": name,
            "device": device.kind,
            "precision": device.precision,
            "max_n": self._wanted.max_n,
            "whole": self._wanted.whole,
            "scoring": self._scoring,
            "threshold": self._threshold,
            "versions": {package: _version(package) for package in _CACHE_KEY_PACKAGES},
        }

    def _make(self, runtime: Backend, precision: Precision, folder: Path) -> Mapping[str, Any]:
        log.info(
            "making the network ready for %s in %s; it is kept for the next start", runtime.name, precision
        )
        graphs = dict(self._graphs(half=precision == "mixed-float16"))
        if precision != "fp32":
            graphs["exact"] = self._graphs(half=False)["classify"]
        export_graphs(runtime, graphs, folder, precision)
        return {"expected": self._expected()}

    @property
    def _step(self) -> int:
        """Maps weighed at a time: on a GPU all, on a CPU one, which has room between frames most often."""
        return self._wanted.max_n if self._device.kind == "gpu" else 1

    def _load(self, runtime: Backend, folder: Path, device: ComputeDevice, batch: int) -> LocalModel:
        size, whole = self._bundle.card.input_size, self._wanted.whole
        return LocalModel(
            runtime,
            folder,
            device=device,
            size=size,
            batch=batch,
            gate=self._gate,
            single_batch=whole,
            doubt=None if device.precision == "fp32" else recheck_band(self._threshold),
        )

    @cached_property
    def _model(self) -> Any:
        self._tensorflow(ComputeDevice("cpu", "/CPU:0", "CPU", "fp32"))  # set up before Keras imports it
        return self._bundle.keras_model()

    def _expected(self) -> ReferenceScores:
        """What TensorFlow in single precision says of the references."""
        device = ComputeDevice("cpu", "/CPU:0", "CPU", "fp32")
        runtime = self._tensorflow(device)
        with TemporaryDirectory(prefix="defect-monitor-") as scratch:
            export_graphs(runtime, self._graphs(half=False), Path(scratch), "fp32")
            classifier = self._load(runtime, Path(scratch), device, 1)
            return score_references(classifier, self._bundle, self._threshold)

    def _graphs(self, *, half: bool) -> Mapping[str, bytes]:
        if half not in self._built:
            model = self._model  # first: TensorFlow must be set up, and kept quiet, before Keras imports it
            from monitor.inference.graphs import build_model_graphs  # noqa: PLC0415 (Keras: seconds)

            self._built[half] = build_model_graphs(
                self._bundle.card,
                model,
                max_n=self._wanted.max_n,
                step=self._step,
                scoring=self._scoring,
                float16=half,
                whole=self._wanted.whole,
            )
        return self._built[half]


def _source_digest() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(path for pattern in _CACHE_KEY_SOURCES for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
