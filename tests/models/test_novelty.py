"""Novelty: the own surface is familiar, another one and what is not finite are not."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import ModelError
from monitor.models.novelty import NoveltyDetector, fit_novelty_detector


def surface(seed: int, count: int, width: int = 40, tone: int = 0) -> np.ndarray:
    """Features of pictures of one surface: correlated, positive, fewer pictures than features."""
    mixing = np.random.default_rng(100 + tone).normal(0, 1, (5, width))
    factors = np.random.default_rng(seed).normal(0, 1, (count, 5))
    grain = np.random.default_rng(seed + 1).normal(0, 0.1, (count, width))
    return np.float32(np.exp(0.5 * factors @ mixing + grain + tone))


def test_the_limit_is_crossed_by_its_share_of_the_validation_pictures():
    validation = surface(2, 400)
    familiarity = fit_novelty_detector(surface(1, 30), validation, share=0.05)
    assert familiarity.is_novel(validation).mean() == pytest.approx(0.05, abs=0.003)


def test_new_pictures_of_the_surface_are_familiar_and_another_surface_is_not():
    familiarity = fit_novelty_detector(surface(1, 60), surface(2, 200))
    assert familiarity.is_novel(surface(3, 500)).mean() < 0.05
    assert familiarity.is_novel(surface(4, 500, tone=1)).mean() > 0.95


def test_features_that_never_vary_keep_the_distance_finite():
    still = np.ones((20, 6), np.float32)
    familiarity = fit_novelty_detector(still, still)
    assert np.isfinite(familiarity.distance(still + 0.5)).all()
    assert familiarity.is_novel(still + 0.5).all()
    assert not familiarity.is_novel(still).any()


@given(st.sampled_from([np.nan, np.inf]))
def test_what_is_not_finite_is_unfamiliar(value):
    familiarity = fit_novelty_detector(surface(1, 30), surface(2, 30))
    odd = surface(3, 1)
    odd[0, 3] = value
    assert familiarity.is_novel(odd).all()


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(2, 30))
def test_it_comes_back_from_its_bytes_as_it_was(seed, width, count):
    familiarity = fit_novelty_detector(surface(seed, count, width), surface(seed + 5, 4, width))
    again = NoveltyDetector.from_bytes(familiarity.to_bytes())
    features = surface(seed + 9, 7, width)
    assert np.array_equal(again.distance(features), familiarity.distance(features))
    assert again.limit == familiarity.limit


def test_distances_do_not_depend_on_the_order_of_the_features():
    order = np.random.default_rng(0).permutation(40)
    training, validation, other = surface(1, 50), surface(2, 50), surface(3, 9)
    plain = fit_novelty_detector(training, validation).distance(other)
    shuffled = fit_novelty_detector(training[:, order], validation[:, order]).distance(other[:, order])
    assert plain == pytest.approx(shuffled, rel=1e-3)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_bytes_that_are_no_arrays_are_refused(content: bytes):
    with pytest.raises(ModelError, match="cannot be read"):
        NoveltyDetector.from_bytes(content)


def test_pickled_objects_are_refused():
    buffer = io.BytesIO()
    np.savez(buffer, mean=np.array([{}], object), whitening=np.eye(1), limit=1.0)
    with pytest.raises(ModelError, match="cannot be read"):
        NoveltyDetector.from_bytes(buffer.getvalue())


def test_arrays_that_do_not_fit_are_refused():
    buffer = io.BytesIO()
    np.savez(buffer, mean=np.zeros(3), whitening=np.eye(2), limit=1.0)
    with pytest.raises(ModelError, match="do not fit"):
        NoveltyDetector.from_bytes(buffer.getvalue())


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="two training images"):
        fit_novelty_detector(surface(1, 1), surface(2, 3))
