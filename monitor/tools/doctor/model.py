"""The processor and the network: that the one computes correctly, and what the other answers."""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from monitor.errors import DeviceError, ModelError
from monitor.imaging.geometry import resize_to_input
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import ModelHandle
from monitor.inference.precision import score_error
from monitor.models.bundle import ModelBundle
from monitor.simulate.surface import SurfaceGenerator
from monitor.tools.doctor.gpu import nvidia_cards, query_nvidia_smi
from monitor.tools.doctor.result import CheckResult, Figure, failed, ok, skipped

_SIDE = 256


_RUNS = 5


TOLERANCE = 0.02
"""Largest difference of a score from that in the card; reduced precision moves it less."""


_WRONG = 'try inference.device = "cpu" and precision = "fp32"; if that helps, the device is faulty'


def check_device(prepare: Callable[[], ComputeDevice]) -> tuple[CheckResult, ComputeDevice | None]:
    """Check the processor that `prepare` sets TensorFlow up for, with a real multiplication on it."""
    cards = nvidia_cards()
    try:
        device = prepare()
    except DeviceError as error:
        return failed("device", str(error), _for_a_gpu(cards)), None
    random = np.random.default_rng(0)
    left, right = random.random((2, _SIDE, _SIDE), np.float32)
    try:
        with tf.device(device.name):
            product = tf.linalg.matmul(left, right)
    except tf.errors.OpError as error:
        return failed(
            "device", f"{device.description} cannot be used: {error.message}", _for_a_gpu(cards)
        ), None
    if not product.device.endswith(device.name.removeprefix("/")):  # TensorFlow falls back silently
        message = f"{device.description} cannot be used: the work was done on {product.device}"
        return failed("device", message, _for_a_gpu(cards)), None
    if not np.allclose(product.numpy(), left @ right, rtol=1e-2):
        return failed("device", f"{device.description} multiplies wrongly", "replace the hardware"), None
    message = f"{device.description}, {device.precision}"
    if device.kind == "cpu":
        message += f"; {os.cpu_count()} processors"
        advice = _for_a_gpu(cards) if cards and "as asked" not in device.description else ""
        return ok("device", message, {"kind": "cpu", "precision": device.precision}, advice=advice), device
    memory = "".join(
        f"; {gpu.name}, driver {gpu.driver}, {gpu.free} of {gpu.total} MiB free" for gpu in query_nvidia_smi()
    )
    return ok("device", message + memory, {"kind": "gpu", "precision": device.precision}), device


def check_model(
    load: Callable[[], ModelBundle],
    prepare: Callable[[ModelBundle], ModelHandle],
    device: ComputeDevice | None,
) -> CheckResult:
    """Check the model: its files match their hashes, and on `device` it answers as when it was made.

    That is, its reference images get the scores that its card holds, within TOLERANCE. A model without them
    must at least answer a simulated image with the same score every time.
    """
    try:
        bundle = load()
        if device is None:
            return skipped(
                "model", f"{bundle.card.name}: its files are intact; not run, since no device can be used"
            )
        model = prepare(bundle)
        model.load()
    except ModelError as error:
        return failed("model", str(error), "install the model again, or set model.path to another")
    picture = resize_to_input(
        SurfaceGenerator(1, 512, 512, textures=1).picture(0), size=bundle.card.input_size
    )[None]
    seconds, scores = [], []
    for _ in range(_RUNS):
        began = time.monotonic()
        scores.append(float(model.classify(picture).scores[0]))
        seconds.append(time.monotonic() - began)
    name, sha256 = bundle.card.name, bundle.card.model.sha256
    # Compared so, a score that is not a number is refused as well.
    if not all(0 <= score <= 1 and abs(score - scores[0]) < 1e-3 for score in scores):
        return failed(
            "model",
            f"{name} answers the same image with {', '.join(f'{score:.3f}' for score in scores)}",
            _WRONG,
        )
    median = statistics.median(seconds)
    message = f"{name} ({sha256[:12]}), its files are intact; one image takes {median * 1e3:.0f} ms"
    height, width = bundle.card.input_size
    figures: dict[str, Figure] = {"sha256": sha256, "classify_ms": round(median * 1e3, 2)}
    figures |= {"input_height": height, "input_width": width, "references": len(bundle.references)}
    if not bundle.references:
        return ok("model", f"{message}; it has no reference images", figures)
    given = model.classify(np.stack([reference.picture for reference in bundle.references])).scores
    wanted = np.array([reference.score for reference in bundle.references], np.float32)
    threshold = bundle.card.threshold
    worst = float(score_error(given, wanted, threshold, model.device.precision).max())
    figures["largest_difference"] = round(worst, 5)
    if not worst <= TOLERANCE or ((given >= threshold) != (wanted >= threshold)).any():
        return failed(
            "model", f"{name} scores its reference images wrongly, by up to {worst:.3f}", _WRONG, figures
        )
    return ok("model", f"{message}; {len(wanted)} reference images score as they should", figures)


def _for_a_gpu(cards: int) -> str:
    if not cards:
        return 'the machine has no NVIDIA card: set inference.device = "auto" or "cpu"'
    return "install NVIDIA's driver (nvidia-smi must list the card) and run `make install GPU=1`"
