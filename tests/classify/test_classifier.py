"""The network as the daemon runs it answers as the Keras model does, whatever the batch."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from monitor.classify.classifier import Classifier
from monitor.classify.device import Device
from monitor.explain.score_cam import score_cam

CPU = Device("cpu", "/CPU:0", "CPU", "fp32")
SIZE = (48, 40)


def prepare(pictures: Any) -> Any:
    return tf.cast(pictures, tf.float32) / 128 - 1


@pytest.fixture(scope="module")
def model() -> Any:
    """A small classifier with batch norm, as the shipped one has."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((*SIZE, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-1, 1, 8))
            layer.moving_variance.assign(np.linspace(0.2, 3, 8))
    return made


def ready(model: Any, device: Device = CPU, **more: Any) -> Classifier:
    options = {"batch": 6, "max_n": 3, "scoring": "seed", **more}
    return Classifier(
        model, layer="maps", defect_index=1, prepare=prepare, size=SIZE, device=device, **options
    )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (15, *SIZE, 3), np.uint8)


def test_any_number_of_pictures_gets_the_models_own_scores(model: Any, pictures: np.ndarray) -> None:
    classifier = ready(model)
    wanted = model.predict(prepare(pictures).numpy(), verbose=0)[:, 1]
    for count in (1, 2, 3, 5, 6, 7, 15):
        answer = classifier.classify(pictures[:count])
        np.testing.assert_allclose(answer.scores, wanted[:count], atol=1e-6)
        assert len(answer.activations) == len(answer.features) == count


def test_features_are_the_means_of_the_activations_that_are_handed_out(
    model: Any, pictures: np.ndarray
) -> None:
    answer = ready(model).classify(pictures[:3])
    for features, activations in zip(answer.features, answer.activations, strict=True):
        np.testing.assert_allclose(features, activations.numpy()[0].mean(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("scoring", ["seed", "paper"])
def test_an_explanation_from_kept_activations_equals_one_from_scratch(
    model: Any, pictures: np.ndarray, scoring: Any
) -> None:
    classifier = ready(model, scoring=scoring)
    kept = classifier.classify(pictures[:4]).activations[2]
    heat, strength, weighed = classifier.explain(pictures[2], kept)
    assert weighed == 3
    inputs = prepare(pictures[2:3])
    wanted, peak = score_cam(
        lambda x: model(x, training=False),
        inputs,
        keras.Model(model.inputs, model.get_layer("maps").output)(inputs),
        tf.constant([1]),
        max_n=3,
        scoring=scoring,
    )
    np.testing.assert_allclose(heat, wanted.numpy()[0], atol=1e-5)
    assert strength == pytest.approx(float(peak[0]), rel=1e-4)


@pytest.mark.parametrize("scoring", ["seed", "paper"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_explanation_broken_off_equals_one_with_as_many_maps_as_were_weighed(
    model: Any, pictures: np.ndarray, scoring: Any, step: int
) -> None:
    classifier = ready(model, max_n=7, scoring=scoring, step=step)
    kept = classifier.classify(pictures[:1]).activations[0]
    for wanted in (1, 4, 7):
        heat, strength, weighed = classifier.explain(pictures[0], kept, lambda maps, _, to=wanted: maps < to)
        assert weighed == min(7, -(-wanted // step) * step)
        whole, peak = ready(model, max_n=weighed, scoring=scoring).explain_whole(pictures[0], kept)
        np.testing.assert_allclose(heat, whole, atol=1e-5)
        assert strength == pytest.approx(peak, rel=1e-4)


def test_an_explanation_that_may_not_begin_has_nothing_to_show(model: Any, pictures: np.ndarray) -> None:
    classifier = ready(model)
    kept = classifier.classify(pictures[:1]).activations[0]
    heat, strength, weighed = classifier.explain(pictures[0], kept, lambda *_: False)
    assert heat.shape == kept.shape[1:3]
    assert (strength, weighed, heat.max()) == (0, 0, 0)


def test_an_explanation_says_what_each_step_took(model: Any, pictures: np.ndarray) -> None:
    classifier = ready(model, max_n=3)
    kept = classifier.classify(pictures[:1]).activations[0]
    told: list[tuple[int, bool]] = []

    def go_on(maps: int, seconds: float) -> bool:
        told.append((maps, seconds > 0))
        return True

    classifier.explain(pictures[0], kept, go_on)
    assert told == [(0, False), (1, True), (2, True), (3, True)]


def test_a_picture_of_no_sound_numbers_has_no_evidence(model: Any, pictures: np.ndarray) -> None:
    classifier = ready(model)
    broken = tf.fill((1, 12, 10, 8), float("nan"))
    heat, strength, _ = classifier.explain(pictures[0], broken)
    assert (strength, heat.max()) == (0, 0)


def test_half_precision_keeps_the_scores_within_two_hundredths(model: Any, pictures: np.ndarray) -> None:
    # Float16 on a CPU is emulated: slow, but its numbers are those of a GPU's policy.
    half = ready(model, replace(CPU, precision="mixed-float16")).classify(pictures)
    full = ready(model).classify(pictures)
    np.testing.assert_allclose(half.scores, full.scores, atol=0.02)
    assert np.abs(half.scores - full.scores).max() > 0  # it did compute in another precision
    assert model.layers[1].compute_dtype == "float32"  # and the model handed in is as it was
