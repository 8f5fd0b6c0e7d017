from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.classify.bundle import Bundle, save_bundle
from monitor.classify.card import Card, ModelFile, Preprocessing, Training
from monitor.classify.familiarity import Familiarity, fit_familiarity
from monitor.classify.runtime import processor_has_bf16

NEEDS_BF16 = pytest.mark.skipif(
    not processor_has_bf16(Path("/proc/cpuinfo").read_text()),
    reason="the processor has no instructions for bfloat16",
)


def card_of(**changes: Any) -> Card:
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
        "training": Training(
            command="", recipe="none", init="none", seed=0, data=(), epochs=0, kept_epoch=0, versions={}
        ),
        "figures": {"auc": 0.5},
        "model": ModelFile(file="none.keras", sha256="0" * 64),
    }
    return Card(**(fields | changes))


@pytest.fixture(scope="session")
def make_card() -> Callable[..., Card]:
    """The card of a network of 32x32 pixels, with changes."""
    return card_of


@pytest.fixture(scope="session")
def network() -> Any:
    """The article's network at 32x32 pixels, weights at random."""
    import keras

    from monitor.classify.architecture import truncated_resnet50

    keras.utils.set_random_seed(4)
    return truncated_resnet50(size=(32, 32))


@pytest.fixture(scope="session")
def familiarity() -> Familiarity:
    random = np.random.default_rng(0)
    return fit_familiarity(np.float32(random.gamma(2, 1, (40, 8))), np.float32(random.gamma(2, 1, (20, 8))))


@pytest.fixture
def toy_bundle(tmp_path: Path, network: Any, familiarity: Familiarity) -> Bundle:
    """A whole bundle on disk, to be spoiled."""
    return save_bundle(tmp_path / "toy", network, card_of(), familiarity)
