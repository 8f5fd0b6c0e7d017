"""Small networks to explain: enough structure to be wrong about, little enough to run in milliseconds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.toy_network import ToyNet


@pytest.fixture(scope="session")
def toy() -> ToyNet:
    return ToyNet()


@pytest.fixture
def pictures() -> np.ndarray:
    """Four preprocessed inputs, (4, 32, 48, 3) float32, around zero."""
    return np.random.default_rng(5).normal(0, 40, (4, 32, 48, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def explainer(classifier: Callable[..., Any]) -> Any:
    """The plain classifier made ready: tests share its traces."""
    from monitor.explain import Explainer

    return Explainer(classifier())


@pytest.fixture(scope="session")
def classifier() -> Callable[..., Any]:
    """Build a small Keras classifier, its weights always the same."""
    import keras

    def build(
        units: int = 3, activation: str | None = "softmax", channels: int = 3, separate: bool = False
    ) -> Any:
        keras.utils.set_random_seed(3)
        x = inputs = keras.Input((32, 48, channels))
        x = keras.layers.Rescaling(1 / 40)(x)
        x = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu", name="first")(x)
        x = keras.layers.Conv2D(12, 3, 2, padding="same", name="second")(x)
        x = keras.layers.BatchNormalization()(x)
        x = keras.layers.ReLU(name="last")(x)
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        x = keras.layers.Dropout(0.5)(x)
        x = keras.layers.Dense(
            units,
            activation=None if separate else activation,
            kernel_initializer=keras.initializers.RandomNormal(stddev=3),
            name="scores",
        )(x)
        if separate:
            x = keras.layers.Activation(activation)(x)
        return keras.Model(inputs, x)

    return build
