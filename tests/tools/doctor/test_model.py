"""The processor and the model."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from monitor.bootstrap import inference as build_inference
from monitor.errors import DeviceError
from monitor.inference.device import ComputeDevice
from monitor.models.bundle import ModelBundle, ReferenceImage, load_bundle
from monitor.models.registry import resolve_model_path
from monitor.tools.doctor.checklist import default_settings
from monitor.tools.doctor.gpu import Gpu, nvidia_cards, query_nvidia_smi
from monitor.tools.doctor.model import check_device, check_model
from tests.support.fake_model import FakeModel, classification, spec_of

CPU = ComputeDevice("cpu", "/CPU:0", "CPU (TensorFlow sees no GPU)", "fp32")


def answering(*scores: float | tuple[float, ...]) -> FakeModel:
    """A model that gives these scores in turn; it stands in for a device that computes wrongly."""
    turns = [*scores]
    return FakeModel(
        spec_of(size=224), classify=lambda _: classification(np.atleast_1d(turns.pop(0)).tolist())
    )


def test_a_processor_that_multiplies_rightly_is_ok() -> None:
    answer, device = check_device(lambda: CPU)
    assert (answer.result, device) == ("ok", CPU)
    assert "TensorFlow sees no GPU" in answer.message


def test_a_gpu_that_is_asked_for_and_missing_is_not_ok() -> None:
    def refuse() -> ComputeDevice:
        raise DeviceError('device = "gpu", but TensorFlow sees no GPU')

    answer, device = check_device(refuse)
    assert (answer.result, device) == ("not ok", None)
    assert answer.remedy


def test_a_device_that_cannot_be_used_is_not_ok() -> None:
    answer, device = check_device(lambda: ComputeDevice("gpu", "/GPU:7", "a GPU that is not there", "fp32"))
    assert (answer.result, device) == ("not ok", None)


def test_graphics_cards_are_counted_by_vendor_and_class(tmp_path: Path) -> None:
    cards = {"a": ("0x10de", "0x030200"), "b": ("0x10de", "0x040300"), "c": ("0x8086", "0x030000")}
    for name, (vendor, kind) in cards.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    assert nvidia_cards(tmp_path) == 1
    assert nvidia_cards(tmp_path / "none") == 0


def test_the_drivers_word_is_understood(tmp_path: Path) -> None:
    """A stand-in for nvidia-smi, since no machine with a GPU was at hand."""
    program = tmp_path / "smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA RTX A2000, 550.54.14, 6138, 5900'\n")
    program.chmod(0o755)
    assert query_nvidia_smi(str(program)) == [Gpu("NVIDIA RTX A2000", "550.54.14", 6138, 5900)]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert query_nvidia_smi(str(program)) == []
    assert query_nvidia_smi("no-such-program") == []


def test_a_model_without_a_device_has_its_files_looked_at_alone(shipped_bundle: Path) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    answer = check_model(partial(load_bundle, shipped_bundle), never, None)  # type: ignore[arg-type]
    assert answer.result == "skipped"
    assert "intact" in answer.message


def test_a_damaged_model_is_not_ok(tmp_path: Path, shipped_bundle: Path) -> None:
    bundle = Path(shutil.copytree(shipped_bundle, tmp_path / "model"))
    (network,) = bundle.glob("*.keras")
    network.write_bytes(network.read_bytes()[:-1])
    answer = check_model(
        partial(load_bundle, bundle), partial(build_inference.build_model, default_settings()), CPU
    )
    assert answer.result == "not ok"
    assert "SHA-256 differs" in answer.message
    assert "model.path" in answer.remedy


@pytest.mark.parametrize("scores", [[float("nan")] * 5, [0.2, 0.2, 0.7, 0.2, 0.2], [1.5] * 5])
def test_scores_that_cannot_be_are_not_ok(shipped_bundle: Path, scores: list[float]) -> None:
    classifier = answering(*scores)
    answer = check_model(partial(load_bundle, shipped_bundle), lambda *_: classifier, CPU)  # type: ignore[arg-type, return-value]
    assert answer.result == "not ok"
    assert "answers the same image with" in answer.message


def test_scores_that_agree_are_ok(shipped_bundle: Path) -> None:
    answer = check_model(
        lambda: bundle_with(load_bundle(shipped_bundle)),
        lambda *_: answering(*[0.25] * 5),  # type: ignore[arg-type, return-value]
        CPU,
    )
    assert answer.result == "ok"
    assert "no reference images" in answer.message


def bundle_with(bundle: ModelBundle, *scores: float) -> ModelBundle:
    """The bundle with grey reference pictures that must get these scores."""
    picture = np.full((*bundle.card.input_size, 3), 90, np.uint8)
    return replace(bundle, references=tuple(ReferenceImage(picture, score) for score in scores))


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ((0.1, 0.9), "ok"),
        ((0.115, 0.885), "ok"),
        ((0.13, 0.9), "not ok"),
        ((0.1, float("nan")), "not ok"),
    ],
)
def test_reference_pictures_must_get_their_scores(
    shipped_bundle: Path, given: tuple[float, ...], result: str
) -> None:
    bundle = bundle_with(load_bundle(shipped_bundle), 0.1, 0.9)
    classifier = answering(*[0.25] * 5, given)
    answer = check_model(lambda: bundle, lambda *_: classifier, CPU)  # type: ignore[arg-type, return-value]
    assert answer.result == result, answer


def test_a_reference_whose_verdict_turns_is_not_ok(shipped_bundle: Path) -> None:
    bundle = load_bundle(shipped_bundle)
    near = bundle.card.threshold + 0.005
    classifier = answering(*[0.25] * 5, (near - 0.01,))
    answer = check_model(lambda: bundle_with(bundle, near), lambda *_: classifier, CPU)  # type: ignore[arg-type, return-value]
    assert answer.result == "not ok"
    assert "reference images wrongly" in answer.message


def test_the_shipped_model_has_references() -> None:
    assert load_bundle(resolve_model_path("dagm-class1")).references
