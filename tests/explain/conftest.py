"""Small networks to explain: enough structure to be wrong about, little enough to run in milliseconds."""

import numpy as np
import pytest

from .toys import ToyNet


@pytest.fixture(scope="session")
def toy() -> ToyNet:
    return ToyNet()


@pytest.fixture
def pictures() -> np.ndarray:
    """Four preprocessed inputs, (4, 32, 48, 3) float32, around zero."""
    return np.random.default_rng(5).normal(0, 40, (4, 32, 48, 3)).astype(np.float32)
