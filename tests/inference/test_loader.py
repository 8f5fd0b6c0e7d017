"""Loading a bundle: cached for the next start, checked on its reference images, never silently worse."""

import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import DeviceError, ModelError
from monitor.inference import candidates, loader
from monitor.inference.backends.base import is_installed
from monitor.inference.candidates import InferenceOptions, candidate_backends, detect_device
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import ModelSpec
from monitor.inference.loader import load_network
from monitor.inference.local import LocalModel
from monitor.inference.network import Network
from monitor.inference.reference_check import reference_mismatch, score_references
from monitor.models.bundle import ModelBundle, ReferenceImage, save_bundle
from tests.support.tiny_models import NEEDS_BF16, card_of

# Keras hands its variables to NumPy 2 in a way that NumPy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


BF16 = "flags : fpu avx512_bf16"


@pytest.fixture(scope="module")
def bundle(network: Any, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle with references of either verdict, scored by the network itself."""
    from monitor.models.preprocessing import preprocess

    random = np.random.default_rng(2)
    pictures = random.integers(0, 256, (12, 32, 32, 3), np.uint8)
    card = card_of()
    scores = np.asarray(network.predict(preprocess(card, pictures), verbose=0))[:, 1]
    card = card.model_copy(update={"threshold": float(np.median(scores))})
    references = [
        ReferenceImage(picture, float(score)) for picture, score in zip(pictures, scores, strict=True)
    ]
    return save_bundle(tmp_path_factory.mktemp("ready") / "toy", network, card, None, references=references)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache for this file's tests, beside nothing that is shipped."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path_factory.getbasetemp() / "ready-cache"))


PLAIN = InferenceOptions(device="cpu", runtime="tensorflow", precision="fp32", batch=2)


def load(bundle: ModelBundle, options: InferenceOptions = PLAIN) -> Network:
    return load_network(bundle, ModelSpec.from_card(bundle.card, max_n=3), options)


def test_the_second_start_does_not_build_the_network(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = np.stack([reference.picture for reference in bundle.references])
    first = load(bundle).classify(pictures).scores

    def never(_: ModelBundle) -> Any:
        raise AssertionError("built again")

    monkeypatch.setattr(ModelBundle, "keras_model", never)
    # Each start measures into which passes a batch is split, so sums may be rounded otherwise.
    np.testing.assert_allclose(load(bundle).classify(pictures).scores, first, atol=1e-5)
    np.testing.assert_allclose(first, [reference.score for reference in bundle.references], atol=1e-5)


def test_what_is_kept_and_damaged_is_made_again(
    bundle: ModelBundle, caplog: pytest.LogCaptureFixture
) -> None:
    load(bundle)
    for path in Path(os.environ["CACHE_DIRECTORY"]).glob("*/tensorflow/saved_model.pb"):
        path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        load(bundle)
    assert "damaged" in caplog.text


def test_a_way_that_judges_otherwise_is_not_taken_by_itself(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino", reason="no other runtime than TensorFlow is installed")
    honest = loader.reference_mismatch

    def spoilt(classifier: Any, *rest: Any) -> str | None:
        return "it lies" if classifier.device.runtime == "openvino" else honest(classifier, *rest)

    monkeypatch.setattr(loader, "reference_mismatch", spoilt)
    with caplog.at_level(logging.WARNING):
        taken = load(bundle, InferenceOptions(device="cpu", precision="fp32", batch=2))
    assert (taken.device.runtime, taken.device.precision) == ("tensorflow", "fp32")
    assert "openvino in fp32 is rejected: it lies" in caplog.text


@NEEDS_BF16
def test_a_precision_that_judges_otherwise_is_not_taken_by_itself(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(candidates, "is_installed", lambda name: name == "tensorflow")
    honest = loader.reference_mismatch

    def spoilt(classifier: Any, *rest: Any) -> str | None:
        return "it lies" if classifier.device.precision == "bf16" else honest(classifier, *rest)

    wanted = InferenceOptions(device="cpu", batch=2)
    monkeypatch.setattr(Network, "speedup", lambda _: 1.5)
    assert load(bundle, wanted).device.precision == "bf16"
    monkeypatch.setattr(loader, "reference_mismatch", spoilt)
    with caplog.at_level(logging.WARNING):
        assert load(bundle, wanted).device.precision == "fp32"
    assert "tensorflow in bf16 is rejected: it lies" in caplog.text


@NEEDS_BF16
@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_a_precision_that_is_slower_here_is_only_taken_if_asked_for(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, precision: Any
) -> None:
    monkeypatch.setattr(candidates, "is_installed", lambda name: name == "tensorflow")
    monkeypatch.setattr(Network, "speedup", lambda self: None if self.device.precision == "fp32" else 0.6)
    with caplog.at_level(logging.INFO):
        taken = load(bundle, InferenceOptions(device="cpu", batch=2, precision=precision))
    assert taken.device.precision == ("fp32" if precision == "auto" else "bf16")
    assert ("it is 0.60 times as fast as fp32" in caplog.text) is (precision == "auto")


@NEEDS_BF16
def test_a_precision_that_is_asked_for_is_not_weighed_even_where_another_runtime_has_it(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="no other runtime than TensorFlow is installed")
    monkeypatch.setattr(Network, "speedup", lambda _: 0.6)
    monkeypatch.setattr(loader, "reference_mismatch", lambda *_: None)
    taken = load(bundle, InferenceOptions(device="cpu", batch=2, precision="bf16"))
    assert (taken.device.runtime, taken.device.precision) == ("openvino", "bf16")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=NEEDS_BF16)])
def test_on_a_cpu_verdicts_can_go_between_any_two_maps(bundle: ModelBundle, precision: Any) -> None:
    wanted = InferenceOptions(device="cpu", runtime="tensorflow", precision=precision, batch=2)
    classifier = load(bundle, wanted)
    picture = bundle.references[0].picture
    asked: list[int] = []

    def go_on() -> bool:
        asked.append(1)
        return True

    heat = classifier.explain(picture, classifier.classify(picture[None]).activations[0], go_on)
    assert len(asked) == heat.maps_used == 3


def test_a_precision_that_is_asked_for_is_taken_with_a_warning(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loader, "reference_mismatch", lambda *_: "it lies")
    with caplog.at_level(logging.WARNING):
        assert load(bundle).device.precision == "fp32"
    assert "differs from what the bundle expects: it lies" in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ((0.03, None), "scores"),
        ((0.0, "verdict"), "another verdict"),
        ((float("nan"), None), "instead of nan"),
    ],
)
def test_a_score_or_verdict_that_moved_is_noticed(
    bundle: ModelBundle, change: tuple[float, str | None], said: str
) -> None:
    classifier, threshold = load(bundle), bundle.card.threshold
    expected = list(score_references(classifier, bundle, threshold))
    assert reference_mismatch(classifier, bundle, expected, threshold) is None
    score, peak = expected[0]
    if change[1] is None:
        expected[0] = (score + change[0], peak)
    else:  # the expectation lies barely beyond the threshold, on its other side
        threshold = score + 0.001
        expected = list(score_references(classifier, bundle, threshold))
        expected[0] = (threshold + 0.001, expected[0][1])
    assert said in (reference_mismatch(classifier, bundle, expected, threshold) or "")


def test_heat_whose_warmest_place_moved_is_noticed(bundle: ModelBundle) -> None:
    classifier = load(bundle)
    expected = list(score_references(classifier, bundle, 0.0))  # every picture counts as flagged
    number, (score, peak) = next((at, each) for at, each in enumerate(expected) if each[1] is not None)
    row, column = peak or (0, 0)
    expected[number] = score, (row + 1 if row < 2 else row - 1, column)
    assert reference_mismatch(classifier, bundle, expected, 0.0) is None
    expected[number] = score, (row + 2 if row < 2 else row - 2, column)
    assert "peak" in (reference_mismatch(classifier, bundle, expected, 0.0) or "")


def possible(wanted: InferenceOptions, *, referenced: bool = True) -> list[tuple[str, str]]:
    return list(candidate_backends(wanted, detect_device(wanted), has_references=referenced))


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU that has all runtimes and bfloat16."""
    monkeypatch.setattr(candidates, "_cpuinfo", lambda: BF16)
    monkeypatch.setattr(candidates, "is_installed", lambda name: True)
    monkeypatch.setattr(candidates, "has_gpu_files", lambda: False)


@pytest.mark.usefixtures("everything")
def test_what_is_asked_for_is_all_that_is_tried() -> None:
    assert possible(InferenceOptions(runtime="openvino")) == [("openvino", "bf16"), ("openvino", "fp32")]
    assert possible(InferenceOptions(runtime="openvino", precision="bf16")) == [("openvino", "bf16")]
    assert possible(InferenceOptions())[0] == ("openvino", "bf16")
    assert {name for name, _ in possible(InferenceOptions(precision="fp32"))} == {
        "tensorflow",
        "openvino",
    }
    assert possible(InferenceOptions(precision="mixed-float16")) == [("tensorflow", "mixed-float16")]


@pytest.mark.usefixtures("everything")
def test_without_references_nothing_is_taken_that_was_not_asked_for() -> None:
    assert possible(InferenceOptions(), referenced=False) == [("tensorflow", "fp32")]
    assert possible(InferenceOptions(precision="bf16"), referenced=False) == [("tensorflow", "bf16")]
    assert possible(InferenceOptions(runtime="openvino"), referenced=False) == [("openvino", "fp32")]


def test_a_processor_without_the_instructions_computes_in_single_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "_cpuinfo", lambda: "flags : fpu avx2")
    assert {precision for _, precision in possible(InferenceOptions(device="cpu"))} == {"fp32"}
    with pytest.raises(DeviceError, match="no instructions for it"):
        possible(InferenceOptions(device="cpu", precision="bf16"))


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (InferenceOptions(runtime="openvino", precision="mixed-float16"), "runs on TensorFlow only"),
    ],
)
def test_what_cannot_be_is_said(wanted: InferenceOptions, said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        possible(wanted)


def test_a_runtime_that_is_not_installed_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(candidates, "is_installed", lambda name: name == "tensorflow")
    with pytest.raises(DeviceError, match=r"pip install '\.\[openvino\]'"):
        possible(InferenceOptions(device="cpu", runtime="openvino"))


_PROGRAM = """
import sys
from pathlib import Path
from monitor.models.bundle import load_bundle
from monitor.inference.local import LocalModel
from monitor.inference.candidates import InferenceOptions

model = LocalModel(load_bundle(Path(sys.argv[1])), InferenceOptions(device="cpu", batch=1))
model.load()
print(model.device.runtime)
"""


def test_making_a_network_ready_without_tensorflow_in_use_leaves_standard_error_to_the_log(
    bundle: ModelBundle, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="where TensorFlow runs the network it is imported earlier")
    environment = {**os.environ, "CACHE_DIRECTORY": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(bundle.path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("openvino\n", "")


def test_another_threshold_needs_no_second_network(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(threshold: float, max_n: int = 3) -> LocalModel:
        return LocalModel(bundle, PLAIN, ModelSpec.from_card(bundle.card, threshold, max_n=max_n))

    inputs = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), np.uint8)
    running = model(0.0)
    running.load()
    assert all(evidence is not None for evidence in running.classify(inputs).evidence)

    monkeypatch.setattr("monitor.inference.local.load_network", None)  # a call would fail
    fresh = model(1.0)
    fresh.share_network(running)
    fresh.load()
    np.testing.assert_array_equal(fresh.classify(inputs).scores, running.classify(inputs).scores)
    assert list(fresh.classify(inputs).evidence) == [None, None]
    assert all(evidence is not None for evidence in running.classify(inputs).evidence)

    other = model(1.0, max_n=2)
    other.share_network(running)
    with pytest.raises(TypeError):
        other.load()


def test_scores_that_the_card_does_not_record_are_reported_at_every_start(
    bundle: ModelBundle, caplog: pytest.LogCaptureFixture
) -> None:
    load(bundle)
    assert "differs from the model's card" not in caplog.text
    first, *others = bundle.references
    altered = replace(bundle, references=(ReferenceImage(first.picture, first.score / 2 + 0.5), *others))
    for _ in range(2):
        caplog.clear()
        load(altered)
        assert caplog.text.count("differs from the model's card: reference image 1 scores") == 1


def test_a_gpu_that_fails_leaves_the_network_to_the_cpu(
    bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("openvino", reason="the CPU runs the network with OpenVINO then")
    gpu = ComputeDevice("gpu", "/GPU:0", "GPU", "fp32")
    honest = loader.detect_device
    monkeypatch.setattr(
        loader, "detect_device", lambda options: gpu if options.device == "auto" else honest(options)
    )
    build = loader._NetworkBuilder.build

    def build_without_gpu(self: Any, name: Any, device: ComputeDevice) -> Any:
        if device.kind == "gpu":
            raise RuntimeError("out of memory")
        return build(self, name, device)

    monkeypatch.setattr(loader._NetworkBuilder, "build", build_without_gpu)
    assert load(bundle, InferenceOptions(batch=2)).device.kind == "cpu"
    assert "the GPU cannot run the network, the CPU does: out of memory" in caplog.text
    monkeypatch.setattr(loader, "detect_device", lambda _: gpu)
    with pytest.raises(ModelError, match="out of memory"):
        load(bundle, InferenceOptions(device="gpu", batch=2))


@pytest.mark.parametrize("options", [{"runtime": "openvino"}, {"precision": "bf16"}])
def test_what_only_a_cpu_can_do_selects_it(options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "has_gpu_files", lambda: pytest.fail("looked for a GPU"))
    assert detect_device(InferenceOptions(**options)).kind == "cpu"


def test_an_early_exit_is_used_on_request_alone() -> None:
    cpu = ComputeDevice("cpu", "/CPU:0", "CPU", "fp32")

    def found(precision: Any, *, has_references: bool = True, has_screening: bool = True) -> list[Any]:
        options = InferenceOptions(device="cpu", precision=precision)
        bundle = {"has_references": has_references, "has_screening": has_screening}
        return list(candidate_backends(options, cpu, **bundle))

    assert "screened" not in [precision for _, precision in found("auto")]
    if is_installed("openvino"):
        assert found("screened") == [("openvino", "screened")]
        assert found("screened", has_references=False) == [("openvino", "screened")]
    with pytest.raises(DeviceError, match="the model has no early exit"):
        found("screened", has_screening=False)
