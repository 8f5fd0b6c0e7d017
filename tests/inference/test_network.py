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

from monitor.explain.score_cam import Scoring, score_cam
from monitor.inference.backends.base import GRAPHS, Backend, cpu_has_bf16
from monitor.inference.backends.tensorflow import TensorFlowBackend
from monitor.inference.device import ComputeDevice
from monitor.inference.graphs import Policy, build_graphs, build_screening, exit_logits, optimize_network
from monitor.inference.network import Network
from monitor.inference.precision import Precision
from monitor.models.novelty import NoveltyDetector
from monitor.models.screening import Screening
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


@pytest.fixture(scope="module")
def speaking(model: Any) -> Any:
    """The model with a head for which every map is evidence of class 1."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    kernel, bias = model.layers[-1].get_weights()
    copy.layers[-1].set_weights([np.abs(kernel) * np.array([-1, 1]), bias])
    return copy


def backend_called(name: str) -> Backend:
    if name == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
        from monitor.inference.backends.openvino import OpenVinoBackend

        return OpenVinoBackend()
    return TensorFlowBackend(use_xla=name == "xla")


POLICIES: dict[tuple[str, str], Policy] = {
    ("tensorflow", "bf16"): "mixed_bfloat16",
    ("tensorflow", "mixed-float16"): "mixed_float16",
}


@cache
def ready(
    model: Any,
    name: str = "tensorflow",
    precision: Precision = "fp32",
    *,
    max_n: int = 3,
    step: int = 1,
    scoring: Scoring = "seed",
    threshold: float = 0.0,
) -> Network:
    """`model` run by the backend called `name`, by way of files, as the daemon does it."""
    backend = backend_called(name)

    def build(policy: Policy) -> dict[str, Any]:
        return dict(
            build_graphs(
                model,
                layer="maps",
                defect_index=1,
                preprocess=prepare,
                step=step,
                scoring=scoring,
                policy=policy,
            )
        )

    graphs = build(POLICIES.get((name, precision), "float32"))
    if precision != "fp32":
        graphs["classify_fp32"] = build("float32")["classify"]
    device = replace(CPU, precision=precision)
    with TemporaryDirectory() as folder:
        backend.export(graphs, Path(folder))
        return Network(
            backend,
            Path(folder),
            device=device,
            size=SIZE,
            batch=6,
            threshold=threshold,
            max_n=max_n,
            step=step,
        )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (15, *SIZE, 3), np.uint8)


@pytest.fixture(scope="module", params=["tensorflow", "xla", "openvino"])
def classifier(request: pytest.FixtureRequest, model: Any) -> Network:
    """The model by each backend in single precision; `xla` is what a GPU gets, here on the CPU."""
    return ready(model, request.param)


def no_recheck(monkeypatch: pytest.MonkeyPatch, band: tuple[float, float] = (2.0, 2.0)) -> None:
    """Have only scores in `band` classified again."""
    monkeypatch.setattr("monitor.inference.network.recheck_band", lambda *_: band)


def test_any_number_of_pictures_gets_the_models_own_scores(
    classifier: Network, model: Any, pictures: np.ndarray
) -> None:
    wanted = model.predict(prepare(pictures).numpy(), verbose=0)[:, 1]
    for count in (1, 2, 3, 5, 6, 7, 15):
        answer = classifier.classify(pictures[:count])
        np.testing.assert_allclose(answer.scores, wanted[:count], atol=1e-6)
        assert len(answer.activations) == len(answer.features) == count


def test_features_are_the_means_of_the_activations_that_are_handed_out(
    classifier: Network, pictures: np.ndarray
) -> None:
    answer = classifier.classify(pictures[:3])
    for features, activations in zip(answer.features, answer.activations, strict=True):
        np.testing.assert_allclose(features, np.asarray(activations)[0].mean(axis=(0, 1)), atol=1e-5)


def test_activations_stay_as_they_were_when_the_next_batch_is_classified(
    classifier: Network, pictures: np.ndarray
) -> None:
    first = classifier.classify(pictures[:2]).activations[1]
    before = np.array(first)
    later = classifier.classify(pictures[4:6]).activations[1]
    assert np.array_equal(first, before)
    assert not np.array_equal(later, before)


def test_only_inputs_at_or_above_the_threshold_keep_their_activations(
    model: Any, pictures: np.ndarray
) -> None:
    threshold = float(np.median(ready(model).classify(pictures).scores))
    for name in ("tensorflow", "openvino"):
        output = ready(model, name, threshold=threshold).classify(pictures)
        kept = [activations is not None for activations in output.activations]
        assert kept == [score >= threshold for score in output.scores.tolist()]
        assert 0 < sum(kept) < len(kept)


def expected_heat(model: Any, image: np.ndarray, scoring: Any, max_n: int) -> tuple[np.ndarray, float]:
    """Faster-Score-CAM of the Keras model itself."""
    inputs = prepare(image[None])
    activations = keras.Model(model.inputs, model.get_layer("maps").output)(inputs)
    heat, peak = score_cam(
        lambda x: model(x, training=False),
        inputs,
        activations,
        tf.constant([1]),
        max_n=max_n,
        scoring=scoring,
    )
    return heat.numpy()[0], float(peak[0])


def with_heat(model: Any, pictures: np.ndarray, scoring: Any, max_n: int) -> int:
    """The index of the first picture with maps that speak for the class."""
    return next(n for n, each in enumerate(pictures) if expected_heat(model, each, scoring, max_n)[1] > 0)


@pytest.mark.parametrize("scoring", ["seed", "paper"])
@pytest.mark.parametrize("name", ["tensorflow", "xla", "openvino"])
def test_an_explanation_from_kept_activations_equals_one_from_scratch(
    speaking: Any, pictures: np.ndarray, scoring: Any, name: str
) -> None:
    classifier = ready(speaking, name, scoring=scoring)
    index = with_heat(speaking, pictures, scoring, 3)
    expected, peak = expected_heat(speaking, pictures[index], scoring, 3)
    for evidence in (classifier.classify(pictures).activations[index], None):
        heat = classifier.explain(pictures[index], evidence)
        assert (heat.method, heat.maps_used) == ("faster-score-cam", 3)
        np.testing.assert_allclose(heat.heatmap, expected, atol=1e-5)
        assert heat.peak == pytest.approx(peak, rel=1e-3)


@pytest.mark.parametrize("scoring", ["seed", "paper"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_explanation_broken_off_equals_one_with_as_many_maps_as_were_scored(
    speaking: Any, pictures: np.ndarray, scoring: Any, step: int
) -> None:
    classifier = ready(speaking, max_n=7, scoring=scoring, step=step)
    index = with_heat(speaking, pictures, scoring, step)
    kept = classifier.classify(pictures).activations[index]
    for requested in (1, 4, 7):
        maps = min(7, -(-requested // step) * step)
        steps = iter([True] * -(-requested // step))
        heat = classifier.explain(pictures[index], kept, lambda allowed=steps: next(allowed, False))
        expected, peak = expected_heat(speaking, pictures[index], scoring, maps)
        if peak == 0:  # no map speaks for the class: the activations alone are shown
            assert heat.method == "mean-activation"
            continue
        assert heat.maps_used == maps
        np.testing.assert_allclose(heat.heatmap, expected, atol=1e-5)
        assert heat.peak == pytest.approx(peak, rel=1e-3)


def test_an_explanation_without_time_is_the_mean_of_the_leading_maps(
    model: Any, pictures: np.ndarray
) -> None:
    classifier = ready(model)
    kept = classifier.classify(pictures[:1]).activations[0]
    heat = classifier.explain(pictures[0], kept, lambda: False)
    assert (heat.method, heat.maps_used) == ("mean-activation", 3)
    leading = np.argsort(-kept[0].std(axis=(0, 1)))[:3]
    mean = kept[0][..., leading].mean(axis=-1)
    np.testing.assert_allclose(heat.heatmap, mean / mean.max(), atol=1e-6)
    assert heat.peak == pytest.approx(float(mean.max()))


def test_flat_activations_have_no_heat(model: Any, pictures: np.ndarray) -> None:
    flat = np.full((1, 12, 10, 8), 0.3, np.float32)
    heat = ready(model).explain(pictures[0], flat, lambda: False)
    assert (heat.peak, heat.heatmap.max()) == (0, 0)


def test_a_picture_of_no_sound_numbers_has_no_evidence(model: Any, pictures: np.ndarray) -> None:
    classifier = ready(model)
    broken = np.full((1, 12, 10, 8), np.nan, np.float32)
    for proceed in (lambda: True, lambda: False):
        heat = classifier.explain(pictures[0], broken, proceed)
        assert (heat.peak, heat.heatmap.max()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("tensorflow", "mixed-float16"),
        pytest.param("tensorflow", "bf16", marks=NEEDS_BF16),
        pytest.param("openvino", "bf16", marks=NEEDS_BF16),
    ],
)
def test_half_precision_keeps_the_scores_within_two_hundredths(
    model: Any, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str, precision: Precision
) -> None:
    no_recheck(monkeypatch)
    # Float16 on a CPU is emulated: slow, but its numbers are those of a GPU's policy.
    half = ready.__wrapped__(model, name, precision).classify(pictures)
    full = ready(model).classify(pictures)
    np.testing.assert_allclose(half.scores, full.scores, atol=0.02)
    assert np.abs(half.scores - full.scores).max() > 0  # it did compute in another precision
    assert model.layers[1].compute_dtype == "float32"  # and the model handed in is as it was


@NEEDS_BF16
@pytest.mark.parametrize("name", ["tensorflow", "openvino"])
def test_an_uncertain_input_gets_the_whole_answer_of_single_precision(
    model: Any, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    no_recheck(monkeypatch)
    half = ready.__wrapped__(model, name, "bf16").classify(pictures)
    lowest, highest = (float(score) for score in np.quantile(half.scores, [0.3, 0.7]))
    uncertain = (half.scores >= lowest) & (half.scores <= highest)
    full = ready(model, name).classify(pictures)
    assert np.abs(half.scores - full.scores)[uncertain].min() > 1e-5
    no_recheck(monkeypatch, (lowest, highest))
    classifier = ready.__wrapped__(model, name, "bf16")
    given = classifier.classify(pictures)
    classifier.classify(pictures[:1])  # takes the buffers
    for which, expected in ((uncertain, full), (~uncertain, half)):
        np.testing.assert_allclose(given.scores[which], expected.scores[which], atol=1e-6)
        np.testing.assert_allclose(given.features[which], expected.features[which], atol=1e-5)
        for index in np.flatnonzero(which).tolist():
            np.testing.assert_allclose(given.activations[index], expected.activations[index], atol=1e-4)


def test_where_nearly_all_is_doubtful_single_precision_alone_is_asked(
    model: Any, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    honest = TensorFlowBackend.compile

    def noted(self: Any, folder: Path, name: str, **options: Any) -> Any:
        run = honest(self, folder, name, **options)

        def noting(*arrays: Any) -> Any:
            asked.append(name)
            if name == "classify_fp32":
                time.sleep(0.02)
            return run(*arrays)

        return noting

    monkeypatch.setattr(TensorFlowBackend, "compile", noted)
    full = ready(model).classify(pictures)
    no_recheck(monkeypatch, (0.0, 1.0))
    classifier = ready.__wrapped__(model, precision="mixed-float16")
    for measured in (False, True):
        if measured:
            classifier.benchmark()
        for _ in range(30):
            asked.clear()
            given = classifier.classify(pictures)
            assert asked.count("classify_fp32") == len(pictures)
            np.testing.assert_allclose(given.scores, full.scores, atol=1e-6)
            np.testing.assert_allclose(given.features, full.features, atol=1e-5)
        assert ("classify" in asked) is not measured
    np.testing.assert_allclose(given.activations[7], full.activations[7], atol=1e-4)


@pytest.fixture(scope="module")
def screening(model: Any, pictures: np.ndarray) -> tuple[Screening, np.ndarray, np.ndarray]:
    """An early exit that calls some pictures clearly good; its scores, and its distances to the limit."""
    random = np.random.default_rng(4)
    kernels = [random.normal(0, 0.3, shape).astype(np.float32) for shape in ((3, 3, 8, 4), (1, 1, 8, 1))]
    biases = [np.zeros(count, np.float32) for count in (4, 1)]
    maps = keras.Model(model.input, model.get_layer("maps").output)(prepare(pictures)).numpy()
    cells = exit_logits(maps, list(zip(kernels, biases, strict=True))).numpy()
    scores = 1 / (1 + np.exp(-cells.max(axis=(1, 2))))
    detector = NoveltyDetector(np.zeros(8, np.float32), np.eye(8, dtype=np.float32), 1.0)
    distances = detector.distance(maps.mean(axis=(1, 2)))
    detector = replace(detector, limit=float(np.quantile(distances, 0.7)) + 1e-4)
    limit = float(np.quantile(scores, 0.6)) + 1e-4
    return (
        Screening("maps", tuple(kernels), tuple(biases), limit, detector),
        scores,
        distances / detector.limit,
    )


@pytest.fixture(scope="module")
def screened(model: Any, screening: tuple[Screening, Any, Any]) -> Network:
    backend, limit = backend_called("openvino"), screening[0].limit
    graphs = dict(
        build_graphs(model, layer="maps", defect_index=1, preprocess=prepare, step=1, scoring="seed")
    )
    graphs["classify_fp32"] = graphs.pop("classify")
    graphs["screen"] = build_screening(model, screening[0], prepare)
    with TemporaryDirectory() as folder:
        backend.export(graphs, Path(folder))
        return Network(
            backend,
            Path(folder),
            device=replace(CPU, precision="screened"),
            size=SIZE,
            batch=6,
            threshold=limit,
            max_n=3,
            screening_limit=limit,
        )


def test_an_early_exit_answers_for_familiar_inputs_that_are_clearly_good(
    model: Any,
    pictures: np.ndarray,
    screening: tuple[Screening, np.ndarray, np.ndarray],
    screened: Network,
) -> None:
    exit_, scores, distances = screening
    is_clear = (scores < exit_.limit) & (distances <= 1)
    assert 0 < is_clear.sum() < (scores < exit_.limit).sum() < len(pictures)
    given, full = screened.classify(pictures), ready(model, "openvino").classify(pictures)
    np.testing.assert_allclose(given.scores, np.where(is_clear, scores, full.scores), atol=1e-5)
    np.testing.assert_allclose(given.distances, np.where(is_clear, distances, np.nan), atol=1e-4)
    np.testing.assert_allclose(given.features[~is_clear], full.features[~is_clear], atol=1e-4)
    assert [each is None for each in given.activations] == (given.scores < exit_.limit).tolist()
    heat, wanted = (each.explain(pictures[0], None) for each in (screened, ready(model, "openvino")))
    np.testing.assert_allclose(heat.heatmap, wanted.heatmap, atol=1e-5)


def test_an_early_exit_does_not_answer_below_the_threshold_that_it_was_checked_for(
    model: Any, pictures: np.ndarray, screening: tuple[Screening, Any, Any], screened: Network
) -> None:
    thresholds = np.full(len(pictures), screening[0].limit)
    thresholds[::2] *= 0.9
    given, full = screened.classify(pictures, thresholds), ready(model, "openvino").classify(pictures)
    assert np.isnan(given.distances[::2]).all()
    assert not np.isnan(given.distances).all()
    np.testing.assert_allclose(given.scores[::2], full.scores[::2], atol=1e-5)


@pytest.mark.parametrize(("each", "sizes"), [(0.0, [1, 2, 4, 6]), (0.03, [1])])
def test_passes_hold_as_many_inputs_as_save_time(
    model: Any, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, each: float, sizes: list[int]
) -> None:
    honest = TensorFlowBackend.compile
    used: list[int] = []

    def slower(self: Any, folder: Path, name: str, **options: Any) -> Any:
        run = honest(self, folder, name, **options)

        def later(*arrays: Any) -> Any:
            if name == "classify":
                used.append(len(arrays[0]))
                time.sleep(each * len(arrays[0]) or 0.06)
            return run(*arrays)

        return later

    monkeypatch.setattr(TensorFlowBackend, "compile", slower)
    classifier = ready.__wrapped__(model)
    assert classifier.efficient_batch == sizes[-1]
    used.clear()
    classifier.classify(pictures)
    assert set(used) <= set(sizes)
    assert sum(used) >= len(pictures)


def test_what_reduced_precision_gains_is_measured(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TensorFlowBackend.compile

    def slower(self: Any, folder: Path, name: str, **options: Any) -> Any:
        run, seconds = honest(self, folder, name, **options), 0.08 if name == "classify_fp32" else 0.01

        def later(*arrays: Any) -> Any:
            time.sleep(seconds)
            return run(*arrays)

        return later

    monkeypatch.setattr(TensorFlowBackend, "compile", slower)
    classifier = ready.__wrapped__(model, precision="mixed-float16", max_n=2)
    assert classifier.speedup() is None
    classifier.benchmark()
    gain = classifier.speedup()
    assert gain is not None
    assert 2 < gain < 8
    plain = ready.__wrapped__(model, max_n=2)
    plain.benchmark()
    assert plain.speedup() is None


def test_graphs_have_the_inputs_and_outputs_that_are_named_and_no_variables(model: Any) -> None:
    graphs = build_graphs(model, layer="maps", defect_index=1, preprocess=prepare, step=1, scoring="seed")
    assert set(graphs) == set(GRAPHS) - {
        "classify_fp32",
        "screen",
    }  # the first is `classify` in single precision
    for name, graph in graphs.items():
        assert tuple(tensor.name.removesuffix(":0") for tensor in graph.inputs) == GRAPHS[name].inputs
        assert tuple(graph.structured_outputs) == GRAPHS[name].outputs
        assert not graph.captured_inputs


def test_folding_changes_no_answer_and_leaves_no_normalisation(model: Any) -> None:
    images = np.random.default_rng(8).normal(0, 1, (4, *SIZE, 3)).astype(np.float32)
    before = model.get_weights()
    folded = optimize_network(model, "maps")
    np.testing.assert_allclose(folded(images), model(images), atol=1e-6)
    assert not [layer for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


@pytest.mark.parametrize("seen", ["explained", "branch", "output"])
def test_a_convolution_whose_own_answer_is_seen_is_not_folded(seen: str) -> None:
    inputs = keras.Input((16, 16, 3))
    convolved = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    normed = keras.layers.BatchNormalization(name="norm")(convolved)
    x = keras.layers.Add()([normed, convolved]) if seen == "branch" else normed
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D(name="pool")(x))
    made = keras.Model(inputs, [x, convolved] if seen == "output" else x)
    made.get_layer("norm").moving_variance.assign(np.full(4, 0.3))
    folded = optimize_network(made, "conv" if seen == "explained" else "pool")
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
