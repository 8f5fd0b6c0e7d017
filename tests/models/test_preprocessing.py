"""Preprocessing: the same numbers reach the network from arrays and from the graph, at any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.imaging.geometry import resize_to_input
from monitor.models.card import Preprocessing
from monitor.models.preprocessing import preprocess, preprocess_tf


def test_the_network_gets_blue_green_red_less_their_means(make_card):
    picture = np.full((1, 2, 2, 3), (10, 20, 30), np.uint8)
    expected = (10 - 103.939, 20 - 116.779, 30 - 123.68)
    assert preprocess(make_card(), picture)[0, 1, 1] == pytest.approx(expected, rel=1e-5)


@given(st.sampled_from(["bgr", "rgb"]), st.floats(0.001, 2), st.integers(0, 99))
def test_the_graph_does_what_the_arrays_do(make_card, order, scale, seed):
    steps = Preprocessing(channel_order=order, scale=scale, mean=(0.4, 0.5, 0.6), deviation=(0.2, 0.3, 0.4))
    card = make_card(preprocessing=steps)
    pictures = np.random.default_rng(seed).integers(0, 256, (2, 5, 4, 3), np.uint8)
    expected = preprocess(card, pictures)
    assert np.allclose(preprocess_tf(card, pictures).numpy(), expected, rtol=1e-5, atol=1e-4)


def test_shrinking_takes_the_mean_of_what_a_pixel_covers():
    picture = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    means = picture.reshape(16, 4, 12, 4, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(resize_to_input(picture, (16, 12)) - means).max() <= 0.5


@given(st.integers(1, 40), st.integers(1, 40))
def test_any_size_comes_out_at_the_networks(height, width):
    picture = np.full((height, width, 3), 77, np.uint8)
    fitted = resize_to_input(picture, (24, 32))
    assert fitted.shape == (24, 32, 3)
    assert fitted.dtype == np.uint8
    assert (fitted == 77).all()


def test_a_picture_of_the_right_size_is_left_alone():
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    assert resize_to_input(picture, (24, 32)) is picture
