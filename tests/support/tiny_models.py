"""Bundles of networks that are built and loaded in little time."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.inference.backends.base import cpu_has_bf16
from monitor.models.bundle import ModelBundle, ReferenceImage, save_bundle
from monitor.models.card import BundleFile, ModelCard, Preprocessing, TrainingInfo
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector

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


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle of one convolution that scores every image about 0.1.

    For daemons whose verdicts do not matter to a test: loading the shipped one takes most of a start. With a
    threshold of 0.01 every frame is flagged.
    """
    import keras

    from monitor.models.preprocessing import preprocess

    keras.utils.set_random_seed(6)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(12, 3, strides=8, padding="same", activation="relu", name="act_last")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    small = keras.initializers.RandomNormal(stddev=1e-4)
    x = keras.layers.Dense(2, activation="softmax", kernel_initializer=small, name="dense_out")(x)
    model = keras.Model(inputs, x)
    model.layers[-1].bias.assign([2.2, 0.0])
    card = card_of()
    pictures = np.random.default_rng(2).integers(0, 256, (2, 32, 32, 3), np.uint8)
    scores = np.asarray(model(preprocess(card, pictures)))[:, 1]
    references = [
        ReferenceImage(picture, float(score)) for picture, score in zip(pictures, scores, strict=True)
    ]
    with warnings.catch_warnings():
        # Keras hands its variables to NumPy 2 in a way that NumPy has deprecated.
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        return save_bundle(tmp_path_factory.mktemp("small") / "small", model, card, None, references)


@pytest.fixture(scope="session")
def small_model(small_bundle: ModelBundle) -> str:
    """The settings of a daemon with the small bundle, which flags no frame."""
    return f'[model]\npath = "{small_bundle.path}"\n'


@pytest.fixture(scope="session")
def flag_all(small_model: str) -> str:
    """The settings of a daemon with the small bundle, which flags every frame."""
    return small_model + "threshold = 0.01\n"
