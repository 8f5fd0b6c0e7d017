"""Steps of training: the loss falls, and a state resumes as if never stopped."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from monitor.learning.train.learner import Learner, heat_loss, mask_loss
from monitor.learning.train.recipe import DEFAULT, Recipe
from monitor.learning.train.results import initial_card

PLAIN = replace(DEFAULT, schedule="constant", learning_rate=0.01)


def small_network() -> Any:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(12, 3, strides=8, padding="same", name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(name="act_last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="dense_out")(x))


def learner(recipe: Recipe = PLAIN) -> Learner:
    card = initial_card([], name="toy", recipe=recipe, init="none", size=(32, 32), command="")
    return Learner(small_network(), card, recipe, 40, 2.0)


def batch(seed: int, count: int = 6) -> tuple[Any, Any, Any]:
    """Half of the pictures have a bright patch, top left."""
    random = np.random.default_rng(seed)
    pictures = random.integers(40, 120, (count, 32, 32, 3), np.uint8)
    labels = np.arange(count, dtype=np.int32) % 2
    targets = np.zeros((count, 4, 4), np.float32)
    pictures[labels == 1, :16, :16] += 120
    targets[labels == 1, :2, :2] = 1
    return tf.constant(pictures), tf.constant(labels), tf.constant(targets)


def test_steps_lower_the_loss_and_tell_the_kinds_apart():
    taught = learner()
    losses = [taught.train_step(*batch(seed)) for seed in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    taught.recalibrate([batch(seed) for seed in range(5)])
    scores, features = taught.predict([batch(99), batch(98)])
    assert scores.shape == (12,)
    assert features.shape == (12, 12)
    assert scores[1::2].min() > scores[::2].max()


def test_going_on_from_saved_arrays_is_the_same_as_never_stopping():
    whole = learner()
    for seed in range(4):
        whole.train_step(*batch(seed))
    first = learner()
    for seed in range(2):
        first.train_step(*batch(seed))
    second = learner()
    second.restore(first.arrays())
    for seed in range(2, 4):
        second.train_step(*batch(seed))
    for mine, other in zip(second.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.allclose(mine, other, atol=1e-6)


def test_arrays_of_another_network_are_refused():
    with pytest.raises(ValueError, match="arrays for"):
        learner().restore({"0": np.zeros(3)})


def test_recalibration_sets_the_mean_of_the_batches_statistics_and_nothing_else():
    taught = learner()
    batches = [batch(seed) for seed in range(3)]
    before = taught.model.get_layer("conv").get_weights()
    taught.recalibrate(batches)
    inner = keras.Model(taught.model.input, taught.model.get_layer("conv").output)
    mean = np.float32((103.939, 116.779, 123.68))
    outputs = [np.asarray(inner(pictures.numpy().astype(np.float32) - mean)) for pictures, _, _ in batches]
    _, _, moving_mean, moving_variance = taught.model.get_layer("norm").get_weights()
    assert moving_mean == pytest.approx(
        np.mean([x.mean((0, 1, 2)) for x in outputs], axis=0), rel=1e-3, abs=1e-3
    )
    assert moving_variance == pytest.approx(np.mean([x.var((0, 1, 2)) for x in outputs], axis=0), rel=1e-2)
    assert np.array_equal(taught.model.get_layer("conv").get_weights()[0], before[0])
    assert taught.model.get_layer("norm").momentum == PLAIN.batch_norm_momentum


def test_verdicts_are_not_computed_in_half_precision():
    taught = learner()
    taught.train_step(*batch(0))
    scores, _ = taught.predict([batch(5)])
    mean = np.float32((103.939, 116.779, 123.68))
    exact = np.asarray(taught.model(batch(5)[0].numpy().astype(np.float32) - mean, training=False))[:, 1]
    assert scores == pytest.approx(exact, abs=1e-6)


def test_silent_cells_do_not_count_in_the_mask_loss():
    logits = np.random.default_rng(0).normal(0, 3, (2, 4, 4)).astype(np.float32)
    silent = np.full((2, 4, 4), -1, np.float32)
    assert float(mask_loss(tf.constant(logits), tf.constant(silent))) == 0
    half = silent.copy()
    half[:, :2] = 1
    other = logits.copy()
    other[:, 2:] += 5
    assert float(mask_loss(logits, half)) == float(mask_loss(other, half)) > 0


def heat(maps: list[np.ndarray], target: np.ndarray) -> float:
    return float(
        heat_loss(tf.constant(np.stack(maps, -1)[None], tf.float32), tf.constant(target[None], tf.float32))
    )


def test_the_heat_loss_is_zero_where_the_most_varied_maps_are_the_mask():
    target = np.zeros((6, 6))
    target[1:4, 2:5] = 1
    strong = [target * scale for scale in range(5, 15)]
    elsewhere = np.roll(target, 3, axis=0)
    weak = [elsewhere * 0.1] * 4
    assert heat(strong + weak, target) == pytest.approx(0, abs=1e-5)
    assert heat([elsewhere * scale for scale in range(5, 15)], target) > 0.9


def test_the_heat_loss_does_not_count_good_pictures_or_unknown_places():
    maps = list(np.random.default_rng(0).random((12, 4, 4)))
    assert heat(maps, np.zeros((4, 4))) == 0
    assert heat(maps, np.full((4, 4), -1.0)) == 0
    assert heat([np.zeros((4, 4))] * 12, np.ones((4, 4))) == pytest.approx(1)
