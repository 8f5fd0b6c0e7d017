"""The processor and the network: what TensorFlow took, that it reckons right, what the model answers."""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from monitor.classify.bundle import Bundle
from monitor.classify.classifier import Classifier
from monitor.classify.device import Device
from monitor.doctor.answer import Answer, not_ok, ok, skipped
from monitor.doctor.graphics import driver_says, nvidia_cards
from monitor.errors import DeviceError, ModelError
from monitor.locate.fit import fit
from monitor.simulate.surface import SurfaceLine

_SIDE = 256
_RUNS = 5


def device_answer(prepare: Callable[[], Device]) -> tuple[Answer, Device | None]:
    """The processor that `prepare` sets TensorFlow up for, with a real multiplication on it."""
    cards = nvidia_cards()
    try:
        device = prepare()
    except DeviceError as error:
        return not_ok("device", str(error), _for_a_gpu(cards)), None
    random = np.random.default_rng(0)
    left, right = random.random((2, _SIDE, _SIDE), np.float32)
    try:
        with tf.device(device.name):
            product = tf.linalg.matmul(left, right)
    except tf.errors.OpError as error:
        return not_ok(
            "device", f"{device.description} cannot be used: {error.message}", _for_a_gpu(cards)
        ), None
    if not product.device.endswith(device.name.removeprefix("/")):  # TensorFlow goes elsewhere without a word
        told = f"{device.description} cannot be used: the work was done on {product.device}"
        return not_ok("device", told, _for_a_gpu(cards)), None
    if not np.allclose(product.numpy(), left @ right, rtol=1e-2):
        return not_ok("device", f"{device.description} multiplies wrongly", "replace the hardware"), None
    told = f"{device.description}, {device.precision}"
    if device.kind == "cpu":
        told += f"; {os.cpu_count()} processors"
        advice = _for_a_gpu(cards) if cards and "as asked" not in device.description else ""
        return ok("device", told, {"kind": "cpu", "precision": device.precision}, advice=advice), device
    memory = "".join(
        f"; {gpu.name}, driver {gpu.driver}, {gpu.free} of {gpu.total} MiB free" for gpu in driver_says()
    )
    return ok("device", told + memory, {"kind": "gpu", "precision": device.precision}), device


def model_answer(
    load: Callable[[], Bundle], prepare: Callable[[Bundle, Device], Classifier], device: Device | None
) -> Answer:
    """The model: its files as their hashes say, and what it answers on `device` to a picture made here."""
    try:
        bundle = load()
        if device is None:
            return skipped("model", f"{bundle.card.name}: its files are whole; not run, for want of a device")
        classifier = prepare(bundle, device)
    except ModelError as error:
        return not_ok("model", str(error), "install the model again, or set model.path to another")
    picture = fit(SurfaceLine(1, 512, 512, textures=1).picture(0), size=bundle.card.input_size)[None]
    seconds, scores = [], []
    for _ in range(_RUNS):
        began = time.monotonic()
        scores.append(float(classifier.classify(picture).scores[0]))
        seconds.append(time.monotonic() - began)
    name, sha256 = bundle.card.name, bundle.card.model.sha256
    # Compared so, a score that is not a number is refused as well.
    if not all(0 <= score <= 1 and abs(score - scores[0]) < 1e-3 for score in scores):
        return not_ok(
            "model",
            f"{name} answers the same picture with {', '.join(f'{score:.3f}' for score in scores)}",
            'try inference.device = "cpu" and precision = "fp32"; if that helps, the device is at fault',
        )
    median = statistics.median(seconds)
    return ok(
        "model",
        f"{name} ({sha256[:12]}), its files are whole; one picture takes {median * 1e3:.0f} ms",
        {"sha256": sha256, "classify_ms": round(median * 1e3, 2)},
    )


def _for_a_gpu(cards: int) -> str:
    if not cards:
        return 'the machine has no NVIDIA card: set inference.device = "auto" or "cpu"'
    return "install NVIDIA's driver (nvidia-smi must list the card) and `pip install 'defect-monitor[gpu]'`"
