"""An early exit survives the disk, and one that makes no sense is refused."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.errors import ModelError
from monitor.models.bundle import ModelBundle, load_bundle, replace_parts
from monitor.models.novelty import NoveltyDetector
from monitor.models.screening import Screening

# Keras hands its variables to NumPy 2 in a way that NumPy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def screening(familiarity: NoveltyDetector) -> Screening:
    random = np.random.default_rng(0)
    kernels = [random.normal(0, 1, shape).astype(np.float32) for shape in ((3, 3, 8, 4), (1, 1, 8, 1))]
    return Screening(
        "act", tuple(kernels), (np.zeros(4, np.float32), np.ones(1, np.float32)), 0.3, familiarity
    )


def test_a_bundle_carries_it_in_a_card_of_format_4(toy_bundle: ModelBundle, screening: Screening):
    stored = replace_parts(toy_bundle, screening=screening)
    again = load_bundle(toy_bundle.path)
    assert again.card == stored.card
    assert again.card.format == 4
    assert again.screening is not None
    assert (again.screening.layer, again.screening.limit) == ("act", 0.3)
    for name in ("kernels", "biases"):
        for one, other in zip(getattr(again.screening, name), getattr(screening, name), strict=True):
            assert np.array_equal(one, other)
    assert again.screening.familiarity.limit == screening.familiarity.limit
    assert again.familiarity is not None


def test_an_altered_file_is_refused(toy_bundle: ModelBundle, screening: Screening):
    file = replace_parts(toy_bundle, screening=screening).card.screening
    assert file is not None
    (toy_bundle.path / file.file).write_bytes(b"another")
    with pytest.raises(ModelError, match="SHA-256 differs"):
        load_bundle(toy_bundle.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit": 0.0}, "make no sense"),
        ({"biases": (np.zeros(4, np.float32), np.full(1, np.nan, np.float32))}, "make no sense"),
        ({"biases": (np.zeros(3, np.float32), np.ones(1, np.float32))}, "do not fit together"),
        ({"kernels": (), "biases": ()}, "do not fit together"),
    ],
)
def test_arrays_that_do_not_fit_and_numbers_without_sense_are_refused(
    screening: Screening, changes: dict[str, object], message: str
):
    with pytest.raises(ModelError, match=message):
        Screening.from_bytes(replace(screening, **changes).to_bytes())
