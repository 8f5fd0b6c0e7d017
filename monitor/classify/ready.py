"""From a bundle to a classifier: made ready once, kept, and checked before it is trusted.

`auto` takes the fastest way, in an order that was measured (`bench classify`), whose answers to the bundle's
reference pictures are those of single precision; a reduced one only if it is faster on this machine. Where a
way fails, the next one is taken, and the log says why. What all are compared with is TensorFlow in single
precision.
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

from monitor.classify.bundle import Bundle
from monitor.classify.cache import cache_folder, entry
from monitor.classify.classifier import Classifier
from monitor.classify.device import Device, prepare_tensorflow
from monitor.classify.doubt import doubtful
from monitor.classify.gate import Gate
from monitor.classify.reference_check import Expected, answers, difference
from monitor.classify.runtime import Precision, Runtime, RuntimeName, write_graphs
from monitor.classify.ways import Wanted, find_device, ways
from monitor.errors import DeviceError, ModelError

log = logging.getLogger(__name__)

_MAKERS = ("classify/*.py", "explain/score_cam.py")
"""Of this package: the code by which graphs and files are made. What another version made is made again."""

_WORTH = 1.1
"""How many times as fast as single precision a reduced one must be. Not every processor with the instructions
is: some take longer over them. One picture at a time says nothing of a GPU, where this is not asked."""

_DECIDING = ("defect-monitor", "tensorflow", "keras", "openvino", "onnxruntime", "tf2onnx")


def ready(
    bundle: Bundle, wanted: Wanted, *, device: Device | None = None, gate: Gate | None = None
) -> Classifier:
    """The classifier that `wanted` asks for, warm. Raises DeviceError or ModelError.

    `device` is what `prepare_tensorflow` took, where that was called already; `gate` says whose turn it is
    at the device.
    """
    device, prepared = (find_device(wanted), False) if device is None else (device, True)
    workshop = _Workshop(bundle, wanted, device, prepared, gate or Gate())
    possible = list(ways(wanted, device, referenced=bool(bundle.references)))
    for place, (name, precision) in enumerate(possible):
        last = place == len(possible) - 1
        try:
            classifier, trouble = workshop.ready(name, replace(device, runtime=name, precision=precision))
        except Exception as error:  # whatever a library raises over a graph it does not like
            if last or isinstance(error, ModelError | DeviceError):
                raise _unready(name, error) from error
            log.warning("%s cannot run the network: %s", name, error)
            continue
        if trouble and not last:
            log.warning("%s in %s is not taken: %s", name, precision, trouble)
            continue
        classifier.measure()
        weighed = wanted.precision == "auto" and device.kind == "cpu"
        if weighed and (gain := classifier.gain() or _WORTH) < _WORTH:
            log.info("%s in %s is not taken: it is %.2f times as fast as fp32 here", name, precision, gain)
            continue
        if trouble:
            log.warning("%s in %s differs from what the bundle expects: %s", name, precision, trouble)
        log.info(
            "network ready", extra={"runtime": name, "precision": precision, "device": device.description}
        )
        return classifier
    raise AssertionError("there is always a way")


def _unready(name: str, error: Exception) -> Exception:
    if isinstance(error, ModelError | DeviceError):
        return error
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ModelError(f"{name} cannot run the network: {first}")


class _Workshop:
    """Makes classifiers of one bundle; builds the network once at most, and only if need be."""

    def __init__(self, bundle: Bundle, wanted: Wanted, device: Device, prepared: bool, gate: Gate) -> None:
        self._prepared = prepared  # whether TensorFlow is set up
        self._bundle = bundle
        self._wanted = wanted
        self._gate = gate
        self._built: dict[bool, Mapping[str, bytes]] = {}
        self._device = device
        card = bundle.card
        self._scoring = card.localisation.scoring if wanted.scoring == "card" else wanted.scoring
        self._threshold = card.threshold if wanted.threshold is None else wanted.threshold
        self._folder = cache_folder(bundle.path, os.environ)

    def ready(self, name: RuntimeName, device: Device) -> tuple[Classifier, str | None]:
        """A classifier, and what of its answers is not as single precision has them."""
        runtime = self._runtime(name, device)
        make = partial(self._make, runtime, device.precision)
        with entry(self._folder, self._parts(name, device), make) as (folder, remembered):
            classifier = self._load(runtime, folder, device, self._wanted.batch)
        expected = [(score, None if peak is None else tuple(peak)) for score, peak in remembered["expected"]]
        return classifier, difference(classifier, self._bundle, expected, self._threshold)

    def _runtime(self, name: RuntimeName, device: Device) -> Runtime:
        """The runtime, imported now and not before."""
        if name == "openvino":
            from monitor.classify.openvino_runtime import OpenVinoRuntime  # noqa: PLC0415

            return OpenVinoRuntime(self._wanted.threads)
        if name == "onnxruntime":
            from monitor.classify.onnx_runtime import OnnxRuntime  # noqa: PLC0415

            return OnnxRuntime(self._wanted.threads)
        return self._tensorflow(device)

    def _tensorflow(self, device: Device) -> Runtime:
        if not self._prepared:
            prepare_tensorflow(device.kind, device.precision, self._wanted.threads)
            self._prepared = True
        from monitor.classify.tensorflow_runtime import TensorFlowRuntime  # noqa: PLC0415

        return TensorFlowRuntime(compiled=device.kind == "gpu")

    def _parts(self, name: RuntimeName, device: Device) -> Mapping[str, Any]:
        """All that decides what is made."""
        card = self._bundle.card.model_dump(mode="json", exclude={"training", "figures", "threshold_origin"})
        return {
            "code": _code(),
            "card": card,
            "runtime": name,
            "device": device.kind,
            "precision": device.precision,
            "max_n": self._wanted.max_n,
            "whole": self._wanted.whole,
            "scoring": self._scoring,
            "threshold": self._threshold,
            "versions": {package: _version(package) for package in _DECIDING},
        }

    def _make(self, runtime: Runtime, precision: Precision, folder: Path) -> Mapping[str, Any]:
        log.info(
            "making the network ready for %s in %s; it is kept for the next start", runtime.name, precision
        )
        graphs = dict(self._graphs(half=precision == "mixed-float16"))
        if precision != "fp32":
            graphs["exact"] = self._graphs(half=False)["classify"]
        write_graphs(runtime, graphs, folder, precision)
        return {"expected": self._expected()}

    @property
    def _step(self) -> int:
        """Maps weighed at a time: on a GPU all, on a CPU one, which has room between frames most often."""
        return self._wanted.max_n if self._device.kind == "gpu" else 1

    def _load(self, runtime: Runtime, folder: Path, device: Device, batch: int) -> Classifier:
        size, whole = self._bundle.card.input_size, self._wanted.whole
        return Classifier(
            runtime,
            folder,
            device=device,
            size=size,
            batch=batch,
            gate=self._gate,
            whole=whole,
            doubt=None if device.precision == "fp32" else doubtful(self._threshold),
        )

    @cached_property
    def _model(self) -> Any:
        self._tensorflow(Device("cpu", "/CPU:0", "CPU", "fp32"))  # set up before Keras imports it
        return self._bundle.keras_model()

    def _expected(self) -> Expected:
        """What TensorFlow in single precision says of the references."""
        device = Device("cpu", "/CPU:0", "CPU", "fp32")
        runtime = self._tensorflow(device)
        with TemporaryDirectory(prefix="defect-monitor-") as scratch:
            write_graphs(runtime, self._graphs(half=False), Path(scratch), "fp32")
            classifier = self._load(runtime, Path(scratch), device, 1)
            return answers(classifier, self._bundle, self._threshold)

    def _graphs(self, *, half: bool) -> Mapping[str, bytes]:
        if half not in self._built:
            model = self._model  # first: TensorFlow must be set up, and kept quiet, before Keras imports it
            from monitor.classify.graphs import graphs_of  # noqa: PLC0415 (Keras: seconds)

            self._built[half] = graphs_of(
                self._bundle.card,
                model,
                max_n=self._wanted.max_n,
                step=self._step,
                scoring=self._scoring,
                half=half,
                whole=self._wanted.whole,
            )
        return self._built[half]


def _code() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted(path for pattern in _MAKERS for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
