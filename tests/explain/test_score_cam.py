"""Score-CAM: what it equals, and what must not change it."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.explain.score_cam import map_std, scale_heat, score_cam, top_maps, upsampled_masks
from tests.support import cam_reference as reference
from tests.support.toy_network import ToyNet

TARGET = np.array([2, 1, 1, 2], np.int32)  # the classes that the toy predicts


def run(net: ToyNet, x: np.ndarray, target=TARGET, *, scoring="seed", max_n=5, chunk=None, forward=None):
    forward = forward or net.probabilities
    heat, strength = score_cam(
        forward, tf.constant(x), net.activations(x), target, max_n=max_n, scoring=scoring, chunk=chunk
    )
    return heat.numpy(), strength.numpy()


@pytest.mark.parametrize("max_n", [1, 5, 16, None])
@pytest.mark.parametrize("scoring", ["seed", "paper"])
def test_the_heat_equals_the_definition_worked_map_by_map(toy, pictures, scoring, max_n):
    heat, _ = run(toy, pictures, scoring=scoring, max_n=max_n)
    activations = toy.activations(pictures).numpy()
    definition = getattr(reference, scoring)
    for i, image in enumerate(pictures):
        expected = definition(lambda x: toy.probabilities(x).numpy(), image, activations[i], max_n, TARGET[i])
        np.testing.assert_allclose(heat[i], expected, atol=1e-5)


def test_the_two_scorings_differ(toy, pictures):
    assert np.abs(run(toy, pictures)[0] - run(toy, pictures, scoring="paper")[0]).max() > 0.01


def test_seed_applies_its_softmax_to_whatever_the_network_gives(toy, pictures):
    once, _ = run(toy, pictures, forward=toy.logits)
    twice, _ = run(toy, pictures, forward=toy.probabilities)
    activations = toy.activations(pictures).numpy()
    for i, image in enumerate(pictures):
        expected = reference.seed(lambda x: toy.logits(x).numpy(), image, activations[i], 5, TARGET[i])
        np.testing.assert_allclose(once[i], expected, atol=1e-5)
    assert np.abs(once - twice).max() > 1e-3


@pytest.mark.parametrize("scoring", ["seed", "paper"])
@pytest.mark.parametrize("chunk", [1, 3, 7, 20, 1000])
def test_chunked_equals_whole(toy, pictures, scoring, chunk):
    whole, strength = run(toy, pictures, scoring=scoring)
    chunked, strength_chunked = run(toy, pictures, scoring=scoring, chunk=chunk)
    np.testing.assert_allclose(chunked, whole, atol=1e-6)
    np.testing.assert_allclose(strength_chunked, strength, rtol=1e-5)


def test_no_more_than_a_chunk_of_masked_inputs_exists_at_a_time(pictures):
    net = ToyNet()
    run(net, pictures, max_n=None, chunk=7)
    assert max(net.batches) <= 7
    assert sum(net.batches) <= 4 * 16 + len(net.batches)  # evenly filled: hardly any work twice


@pytest.mark.parametrize("scoring", ["seed", "paper"])
def test_an_image_alone_gives_what_it_gives_in_a_batch(toy, pictures, scoring):
    together, strength = run(toy, pictures, scoring=scoring)
    for i in range(4):
        alone, strength_alone = run(toy, pictures[i : i + 1], TARGET[i : i + 1], scoring=scoring)
        np.testing.assert_allclose(alone[0], together[i], atol=1e-6)
        np.testing.assert_allclose(strength_alone[0], strength[i], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("scoring", ["seed", "paper"])
def test_an_image_that_is_not_finite_gives_zero_heat_and_leaves_the_others_alone(toy, pictures, bad, scoring):
    sound, _ = run(toy, pictures, scoring=scoring)
    pictures[2, 3, 3, 0] = bad
    heat, strength = run(toy, pictures, scoring=scoring)
    assert not heat[2].any()
    assert strength[2] == 0
    np.testing.assert_allclose(heat[[0, 1, 3]], sound[[0, 1, 3]], atol=1e-6)


@pytest.mark.parametrize("scoring", ["seed", "paper"])
@pytest.mark.parametrize("value", [0.0, 2.5, -1.0])
def test_flat_maps_give_zero_heat_and_no_warning(toy, pictures, scoring, value):
    activations = tf.fill([4, 8, 12, 16], value)
    with np.errstate(all="raise"):
        heat, strength = score_cam(
            toy.probabilities, tf.constant(pictures), activations, TARGET, max_n=5, scoring=scoring
        )
    assert not heat.numpy().any()
    assert not strength.numpy().any()


def test_a_class_that_every_map_speaks_against_gets_zero_heat(toy, pictures):
    never = np.zeros(4, np.int32)
    assert toy.probabilities(pictures).numpy()[:, 0].max() < toy.probabilities(0 * pictures).numpy()[0, 0]
    maps = tf.abs(toy.activations(pictures))
    heat, strength = score_cam(toy.probabilities, pictures, maps, never, max_n=5, scoring="paper")
    assert not heat.numpy().any()
    assert not strength.numpy().any()


@pytest.mark.parametrize("scoring", ["seed", "paper"])
def test_dead_channels_change_nothing(toy, pictures, scoring):
    activations = toy.activations(pictures).numpy()
    living, _ = score_cam(toy.probabilities, pictures, activations, TARGET, max_n=None, scoring=scoring)
    padded = np.concatenate([activations, np.zeros((4, 8, 12, 3), np.float32)], axis=-1)
    with_dead, _ = score_cam(toy.probabilities, pictures, padded, TARGET, max_n=None, scoring=scoring)
    np.testing.assert_allclose(with_dead, living, atol=1e-6)


def test_a_trace_with_unknown_batch_equals_eager(toy, pictures):
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None], tf.int32)])
    def traced(x, target):
        return score_cam(toy.probabilities, x, toy.activations(x), target, max_n=5, chunk=6)

    for count in (1, 4):
        heat, strength = traced(pictures[:count], TARGET[:count])
        expected, expected_strength = run(toy, pictures[:count], TARGET[:count])
        np.testing.assert_allclose(heat, expected, atol=1e-6)
        np.testing.assert_allclose(strength, expected_strength, rtol=1e-5)


def test_heat_lies_between_zero_and_one_and_touches_one(toy, pictures):
    heat, strength = run(toy, pictures)
    assert heat.shape == (4, 8, 12)
    assert heat.dtype == np.float32
    assert heat.min() >= 0
    np.testing.assert_array_equal(heat.max(axis=(1, 2)), 1)
    assert (strength > 0).all()


def test_strength_is_the_maximum_before_scaling():
    heat, strength = scale_heat(tf.constant([[[0.0, 3.0], [1.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]))
    np.testing.assert_array_equal(heat, [[[0, 1], [0.5, 0]], [[0, 0], [0, 0]]])
    np.testing.assert_array_equal(strength, [3, 0])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(9, 40), st.integers(9, 40), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_masks_of_the_paper_span_zero_to_one_exactly(rows, columns, height, width, seed):
    maps = np.random.default_rng(seed).normal(size=(2, rows, columns)).astype(np.float32)
    result = upsampled_masks(tf.constant(maps), tf.constant([height, width, 3]), "paper").numpy()
    assert result.shape == (2, height, width, 3)
    flat = maps.max(axis=(1, 2)) == maps.min(axis=(1, 2))
    np.testing.assert_array_equal(result.min(axis=(1, 2, 3)), 0)
    np.testing.assert_array_equal(result.max(axis=(1, 2, 3)), np.where(flat, 0, 1))


def test_the_most_varied_maps_are_chosen_per_image_and_ties_go_to_the_lower_channel():
    wave = np.array([[-1.0, 1.0], [1.0, -1.0]], np.float32)
    first = np.stack([wave * 1, wave * 3, wave * 3, wave * 0], -1)
    second = np.stack([wave * 0, wave * 1, wave * 2, wave * 5], -1)
    maps = tf.constant(np.stack([first, second]))
    chosen = top_maps(maps, 2, map_std(maps)).numpy()
    np.testing.assert_array_equal(chosen[0], [wave * 3, wave * 3])
    np.testing.assert_array_equal(chosen[1], [wave * 5, wave * 2])
    tied = np.stack([wave, -wave, wave * 0.5], -1)[None]
    np.testing.assert_array_equal(top_maps(tf.constant(tied), 1, map_std(tied)).numpy()[0, 0], wave)


def test_another_rank_chooses_other_maps(toy, pictures):
    maps = toy.activations(pictures)
    only = np.full((4, 16), -1.0, np.float32)
    only[:, 3] = 1.0
    heat, _ = score_cam(toy.probabilities, pictures, maps, TARGET, max_n=1, rank=tf.constant(only))
    expected, _ = score_cam(toy.probabilities, pictures, maps[..., 3:4], TARGET, max_n=None)
    np.testing.assert_allclose(heat, expected, atol=1e-6)


def test_over_a_background_the_masked_pictures_and_the_baseline_show_it(toy, pictures):
    """Laying X over B by M is masking X - B in a network that first adds B."""
    behind = pictures[3]
    maps = toy.activations(pictures[:2])
    heat, strength = score_cam(
        toy.probabilities, pictures[:2], maps, TARGET[:2], max_n=5, scoring="paper", background=behind
    )
    expected, expected_strength = score_cam(
        lambda x: toy.probabilities(x + behind),
        pictures[:2] - behind,
        maps,
        TARGET[:2],
        max_n=5,
        scoring="paper",
    )
    np.testing.assert_allclose(heat, expected, atol=1e-5)
    np.testing.assert_allclose(strength, expected_strength, rtol=1e-4)
    without, _ = run(toy, pictures[:2], TARGET[:2], scoring="paper")
    assert np.abs(heat - without).max() > 0.01


def test_article_is_another_name_of_seed(toy, pictures):
    heats = [
        score_cam(
            toy.probabilities, tf.constant(pictures), toy.activations(pictures), TARGET, max_n=4, scoring=name
        )[0].numpy()
        for name in ("seed", "article")
    ]
    np.testing.assert_array_equal(*heats)
