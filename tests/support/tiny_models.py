"""A convolution and a head in plain TensorFlow, for tests of the pure functions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from monitor.inference.backends.base import cpu_has_bf16
from monitor.models.bundle import ModelBundle, save_bundle
from monitor.models.card import BundleFile, ModelCard, Preprocessing, TrainingInfo
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector


class ToyNet:
    """Input (n, 32, 48, 3) → 4x4 mean, convolution, leaky ReLU: (n, 8, 12, 16) → mean, dense: (n, 3).

    Its maps go below zero too, where the two scorings differ most.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        self.kernel = tf.constant(rng.normal(0, 0.3, (3, 3, 3, 16)).astype(np.float32))
        self.dense = tf.constant(rng.normal(0, 0.4, (16, 3)).astype(np.float32))
        self.batches: list[int] = []

    def activations(self, x: tf.Tensor) -> tf.Tensor:
        pooled = tf.nn.avg_pool2d(x, 4, 4, "VALID")
        return tf.nn.leaky_relu(tf.nn.conv2d(pooled, self.kernel, 1, "SAME"), 0.3)

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        self.batches.append(len(x) if tf.executing_eagerly() else x.shape[0])
        return tf.reduce_mean(self.activations(x), [1, 2]) @ self.dense

    def probabilities(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(self.logits(x))


NEEDS_BF16 = pytest.mark.skipif(
    not cpu_has_bf16(Path("/proc/cpuinfo").read_text()),
    reason="the processor has no instructions for bfloat16",
)


def card_of(**changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": "toy",
        "classes": ("good", "defect"),
        "defect_class": 1,
        "input_height": 32,
        "input_width": 32,
        "preprocessing": Preprocessing(channel_order="bgr", mean=(103.939, 116.779, 123.68)),
        "cam_layer": "act_last",
        "cell_offset": (0.0, 0.0),
        "threshold": 0.5,
        "threshold_origin": "by hand",
        "training": TrainingInfo(
            command="", recipe="none", init="none", seed=0, data=(), epochs=0, kept_epoch=0, versions={}
        ),
        "figures": {"auc": 0.5},
        "model": BundleFile(file="none.keras", sha256="0" * 64),
    }
    return ModelCard(**(fields | changes))


@pytest.fixture(scope="session")
def make_card() -> Callable[..., ModelCard]:
    """The card of a network of 32x32 pixels, with changes."""
    return card_of


@pytest.fixture(scope="session")
def network() -> Any:
    """The article's network at 32x32 pixels, weights at random."""
    import keras

    from monitor.learning.train.architecture import truncated_resnet50

    keras.utils.set_random_seed(4)
    return truncated_resnet50(size=(32, 32))


@pytest.fixture(scope="session")
def familiarity() -> NoveltyDetector:
    random = np.random.default_rng(0)
    return fit_novelty_detector(
        np.float32(random.gamma(2, 1, (40, 8))), np.float32(random.gamma(2, 1, (20, 8)))
    )


@pytest.fixture
def toy_bundle(tmp_path: Path, network: Any, familiarity: NoveltyDetector) -> ModelBundle:
    """A whole bundle on disk, to be spoiled."""
    return save_bundle(tmp_path / "toy", network, card_of(), familiarity)
