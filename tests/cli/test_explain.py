"""`explain` on images that cannot all be read."""

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

from monitor.cli import app
from monitor.errors import ImageError

# Keras itself calls NumPy in a deprecated way when it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PIXELS = np.random.default_rng(0).integers(16, 200, (48, 64), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.keras"
    keras.utils.set_random_seed(1)
    stack = [
        keras.Input((32, 32, 3)),
        layers.Conv2D(8, 3, activation="relu"),
        layers.GlobalAveragePooling2D(),
    ]
    keras.Sequential([*stack, layers.Dense(3, activation="softmax")]).save(path)
    return path


def explained(model: Path, *arguments: str):
    return CliRunner().invoke(app, ["explain", *arguments, "--model", str(model), "--preprocess", "unit"])


def test_an_unreadable_image_does_not_hide_the_results_of_the_others(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("1.png", PIXELS)
    Path("2.png").write_bytes(b"no image")
    cv2.imwrite("3.png", PIXELS)
    result = explained(model, "1.png", "2.png", "3.png", "--out", "heat")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["1.png", "3.png"]
    assert "not explained: 2.png" in result.stderr
    assert isinstance(result.exception, ImageError)
    assert str(result.exception) == "1 of 3 images cannot be read"


def test_twelve_bits_in_a_file_of_sixteen_give_the_result_of_eight(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("8.png", PIXELS)
    cv2.imwrite("12.png", np.round(PIXELS * (4095 / 255)).astype(np.uint16))
    result = explained(model, "8.png", "12.png", "--bit-depth", "12", "--out", "heat")
    assert result.exit_code == 0, result.output
    eight, twelve = (line.partition(": ")[2].partition(" -> ")[0] for line in result.stdout.splitlines())
    assert eight == twelve
