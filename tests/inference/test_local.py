"""The network as the daemon runs it answers as the Keras model does, whatever the batch."""

import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from monitor.explain.score_cam import score_cam
from monitor.inference.backends.base import GRAPHS, Backend, cpu_has_bf16, export_graphs
from monitor.inference.backends.tensorflow import TensorFlowBackend
from monitor.inference.device import ComputeDevice
from monitor.inference.graphs import build_graphs, fold_batch_norm
from monitor.inference.local import LocalModel
from monitor.inference.precision import Precision
from tests.support.tiny_models import NEEDS_BF16

CPU = ComputeDevice("cpu", "/CPU:0", "CPU", "fp32")


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


def runtime_called(name: str) -> Backend:
    if name == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
        from monitor.inference.backends.openvino import OpenVinoBackend

        return OpenVinoBackend()
    if name == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
        from monitor.inference.backends.onnx import OnnxRuntime

        return OnnxRuntime()
    return TensorFlowBackend(use_xla=name == "xla")


@cache
def ready(model: Any, name: str = "tensorflow", precision: Precision = "fp32", **more: Any) -> LocalModel:
    """`model` run by the runtime called `name`, by way of files, as the daemon does it."""
    max_n, runtime = more.pop("max_n", 3), runtime_called(name)
    whole, doubt = more.pop("whole", False), more.pop("doubt", None)
    graphs = build_graphs(
        model,
        layer="maps",
        defect_index=1,
        preprocess=prepare,
        max_n=max_n,
        step=more.pop("step", 1),
        scoring=more.pop("scoring", "seed"),
        half=precision == "mixed-float16",
        whole=whole,
    )
    assert not more
    device = replace(CPU, precision=precision)
    if doubt is not None:
        graphs["exact"] = graphs["classify"]
    with TemporaryDirectory() as folder:
        export_graphs(runtime, graphs, Path(folder), precision)
        return LocalModel(
            runtime, Path(folder), device=device, size=SIZE, batch=6, single_batch=whole, doubt=doubt
        )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (15, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=["tensorflow", "xla", "openvino", "onnxruntime"])
def classifier(request: pytest.FixtureRequest, model: Any) -> LocalModel:
    """The model by each runtime in single precision; `xla` is what a GPU gets, here on the CPU."""
    return ready(model, request.param)


def test_any_number_of_pictures_gets_the_models_own_scores(
    classifier: LocalModel, model: Any, pictures: np.ndarray
) -> None:
    wanted = model.predict(prepare(pictures).numpy(), verbose=0)[:, 1]
    for count in (1, 2, 3, 5, 6, 7, 15):
        answer = classifier.classify(pictures[:count])
        np.testing.assert_allclose(answer.scores, wanted[:count], atol=1e-6)
        assert len(answer.activations) == len(answer.features) == count


def test_features_are_the_means_of_the_activations_that_are_handed_out(
    classifier: LocalModel, pictures: np.ndarray
) -> None:
    answer = classifier.classify(pictures[:3])
    for features, activations in zip(answer.features, answer.activations, strict=True):
        np.testing.assert_allclose(features, np.asarray(activations)[0].mean(axis=(0, 1)), atol=1e-5)


def test_activations_that_were_taken_stay_as_they_were(classifier: LocalModel, pictures: np.ndarray) -> None:
    answer = classifier.classify(pictures[:2])
    taken = answer.activations[1]
    before = np.array(taken)
    later = classifier.classify(pictures[4:6])
    assert np.array_equal(np.asarray(taken), before)
    assert answer.activations[1] is taken
    assert not np.array_equal(np.asarray(later.activations[1]), before)
    with pytest.raises(RuntimeError, match="before the next batch"):
        answer.activations[0]


@pytest.mark.parametrize("scoring", ["seed", "paper"])
@pytest.mark.parametrize("name", ["tensorflow", "xla", "openvino", "onnxruntime"])
def test_an_explanation_from_kept_activations_equals_one_from_scratch(
    model: Any, pictures: np.ndarray, scoring: Any, name: str
) -> None:
    classifier = ready(model, name, scoring=scoring)
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
        whole, peak = ready(model, max_n=weighed, scoring=scoring, whole=True).explain_single_batch(
            pictures[0], kept
        )
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
    broken = np.full((1, 12, 10, 8), np.nan, np.float32)
    heat, strength, _ = classifier.explain(pictures[0], broken)
    assert (strength, heat.max()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("tensorflow", "mixed-float16"),
        pytest.param("tensorflow", "bf16", marks=NEEDS_BF16),
        pytest.param("openvino", "bf16", marks=NEEDS_BF16),
    ],
)
def test_half_precision_keeps_the_scores_within_two_hundredths(
    model: Any, pictures: np.ndarray, name: str, precision: Precision
) -> None:
    # Float16 on a CPU is emulated: slow, but its numbers are those of a GPU's policy.
    half = ready(model, name, precision).classify(pictures)
    full = ready(model).classify(pictures)
    np.testing.assert_allclose(half.scores, full.scores, atol=0.02)
    assert np.abs(half.scores - full.scores).max() > 0  # it did compute in another precision
    assert model.layers[1].compute_dtype == "float32"  # and the model handed in is as it was


@NEEDS_BF16
@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_a_doubtful_picture_gets_the_whole_answer_of_single_precision(
    model: Any, pictures: np.ndarray, name: str
) -> None:
    half = ready(model, name, "bf16").classify(pictures)
    lowest, highest = (float(score) for score in np.quantile(half.scores, [0.3, 0.7]))
    doubtful = (half.scores >= lowest) & (half.scores <= highest)
    full = ready(model, name).classify(pictures)
    assert np.abs(half.scores - full.scores)[doubtful].min() > 1e-5
    classifier = ready(model, name, "bf16", doubt=(lowest, highest))
    given = classifier.classify(pictures)
    classifier.classify(pictures[:1])  # takes the buffers
    for which, wanted in ((doubtful, full), (~doubtful, half)):
        np.testing.assert_allclose(given.scores[which], wanted.scores[which], atol=1e-6)
        np.testing.assert_allclose(given.features[which], wanted.features[which], atol=1e-5)
        for place in np.flatnonzero(which).tolist():
            np.testing.assert_allclose(
                np.asarray(given.activations[place]), np.asarray(wanted.activations[place]), atol=1e-4
            )


def test_where_nearly_all_is_doubtful_single_precision_alone_is_asked(
    model: Any, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    honest = TensorFlowBackend.compile

    def noted(self: Any, path: Path, signature: Any, batch: int, precision: Precision) -> Any:
        run = honest(self, path, signature, batch, precision)

        def noting(*arrays: Any) -> Any:
            asked.append(path.name)
            if path.name == "exact":
                time.sleep(0.02)
            return run(*arrays)

        return noting

    monkeypatch.setattr(TensorFlowBackend, "compile", noted)
    full = ready(model).classify(pictures)
    classifier = ready.__wrapped__(model, doubt=(0.0, 1.0))
    for measured in (False, True):
        if measured:
            classifier.benchmark()
        for _ in range(30):
            asked.clear()
            given = classifier.classify(pictures)
            assert asked.count("exact") == len(pictures)
            np.testing.assert_allclose(given.scores, full.scores, atol=1e-6)
            np.testing.assert_allclose(given.features, full.features, atol=1e-5)
        assert ("classify" in asked) is not measured
    np.testing.assert_allclose(given.activations[7], np.asarray(full.activations[7]), atol=1e-4)


def test_what_reduced_precision_gains_is_measured(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TensorFlowBackend.compile

    def slower(self: Any, path: Path, signature: Any, batch: int, precision: Precision) -> Any:
        run, seconds = honest(self, path, signature, batch, precision), 0.08 if path.name == "exact" else 0.01

        def later(*arrays: Any) -> Any:
            time.sleep(seconds)
            return run(*arrays)

        return later

    monkeypatch.setattr(TensorFlowBackend, "compile", slower)
    classifier = ready.__wrapped__(model, max_n=2, doubt=(0.1, 0.9))
    assert classifier.speedup() is None
    classifier.benchmark()
    gain = classifier.speedup()
    assert gain is not None
    assert 2 < gain < 8
    plain = ready.__wrapped__(model, max_n=2)
    plain.benchmark()
    assert plain.speedup() is None


def test_graphs_have_the_ends_that_are_named_and_no_others(model: Any) -> None:
    graphs = build_graphs(
        model, layer="maps", defect_index=1, preprocess=prepare, max_n=3, step=1, scoring="seed", whole=True
    )
    assert set(graphs) == set(GRAPHS) - {"exact"}  # which is `classify`, written in single precision
    for name, graph in graphs.items():
        nodes = tf.compat.v1.GraphDef.FromString(graph).node
        read = {source.removeprefix("^").split(":")[0] for node in nodes for source in node.input}
        assert {node.name for node in nodes if node.op == "Placeholder"} == set(GRAPHS[name].inputs)
        assert {node.name for node in nodes} - read == set(GRAPHS[name].outputs)


def test_folding_changes_no_answer_and_leaves_nothing_for_the_normalisation_to_do(model: Any) -> None:
    images = np.random.default_rng(8).normal(0, 1, (4, *SIZE, 3)).astype(np.float32)
    before = model.get_weights()
    folded = fold_batch_norm(model, "maps")
    np.testing.assert_allclose(folded(images), model(images), atol=1e-6)
    (norm,) = [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    np.testing.assert_array_equal(norm.gamma.numpy(), 1)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), 0)
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


@pytest.mark.parametrize("seen", ["explained", "branch", "output"])
def test_a_convolution_whose_own_answer_is_seen_is_not_folded(seen: str) -> None:
    inputs = keras.Input((16, 16, 3))
    convolved = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    normed = keras.layers.BatchNormalization(name="norm")(convolved)
    x = keras.layers.Add()([normed, convolved]) if seen == "branch" else normed
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    made = keras.Model(inputs, [x, convolved] if seen == "output" else x)
    made.get_layer("norm").moving_variance.assign(np.full(4, 0.3))
    folded = fold_batch_norm(made, "conv" if seen == "explained" else "norm")
    np.testing.assert_array_equal(
        folded.get_layer("conv").kernel.numpy(), made.get_layer("conv").kernel.numpy()
    )


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("processor : 0\nflags\t\t: fpu avx512_bf16 sse", True),
        ("flags : fpu amx_bf16", True),
        ("Features : fp asimd bf16", True),
        ("flags : fpu avx512f", False),
        ("", False),
    ],
)
def test_instructions_for_bf16_are_read_from_the_processors_own_list(flags: str, has: bool) -> None:
    assert cpu_has_bf16(flags) is has
