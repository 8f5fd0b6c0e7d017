"""What training decides by itself: tiles or whole frames, all layers or the last one."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest

from monitor.errors import UsageError
from monitor.learning.datasets import FolderLayout, read_samples
from monitor.learning.datasets.tiling import FrameTruth, Tiling, read_truth
from monitor.learning.train.architecture import truncated_resnet50
from monitor.learning.train.config import NullObserver, TrainingConfig
from monitor.learning.train.preparation import FEW_DEFECTS, MIN_TILED_EPOCHS, balanced, prepare
from monitor.learning.train.recipe import DEFAULT
from monitor.learning.train.scoring import FrameScorer
from monitor.learning.train.trainer import train
from monitor.models.bundle import load_bundle
from monitor.models.preprocessing import preprocess

# Keras hands its variables to NumPy 2 in a way that NumPy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (32, 32)


class Lines(NullObserver):
    """Collects what people are told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)


@pytest.fixture(scope="module")
def start_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights at random, in a file as `--init` takes it."""
    keras.utils.set_random_seed(5)
    arrays: Any = {
        f"{layer.name}/{index}": value
        for layer in truncated_resnet50(size=SIZE).layers
        for index, value in enumerate(layer.get_weights())
    }
    path = tmp_path_factory.mktemp("weights") / "start.npz"
    np.savez(path, **arrays)
    return str(path)


def frames_with_dots(folder: Path, *, defects: int, masks: bool) -> list[FrameTruth]:
    """Grey frames of 256x256 pixels; the defect is one bright dot, hardly visible at a side of 32 pixels."""
    for kind, count in (("good", 30), ("dot", defects)):
        (folder / "part" / kind).mkdir(parents=True)
        for number in range(count):
            random = np.random.default_rng((kind == "dot", number))
            shading = cv2.GaussianBlur(random.normal(0, 300, (256, 256)), (0, 0), 8)
            image = (random.normal(110, 5, (256, 256)) + shading).clip(0, 180).astype(np.uint8)
            if kind == "dot":
                x, y = random.integers(20, 230, 2).tolist()
                mask = np.zeros_like(image)
                for pixels in (image, mask):
                    cv2.circle(pixels, (x, y), 1 if masks else 2, 255, -1)
                if masks:
                    (folder / "part/masks/dot").mkdir(parents=True, exist_ok=True)
                    assert cv2.imwrite(str(folder / f"part/masks/dot/{number}.png"), mask)
            assert cv2.imwrite(str(folder / "part" / kind / f"{number}.png"), image)
    return [read_truth(sample) for sample in read_samples([folder])]


def highest_pixels(batches: Any) -> tuple[np.ndarray, np.ndarray]:
    """Answer as a network whose features are the brightest pixels of its input."""
    images = np.concatenate([np.asarray(images) for images, _, _ in batches])[..., 0]
    flat = np.sort(images.reshape(len(images), -1), axis=1).astype(np.float32)
    return np.zeros(len(flat), np.float32), np.stack([flat[:, -1], flat.mean(axis=1)], axis=1)


SCORER = FrameScorer(highest_pixels, SIZE, 16, 0)


def config_for(out: Path, **options: Any) -> TrainingConfig:
    return TrainingConfig(name="toy", out=out, recipe=DEFAULT, size=SIZE, **options)


@pytest.mark.parametrize("masks", [True, False])
def test_tiles_are_chosen_where_they_show_what_the_whole_frame_hides(
    tmp_path: Path, masks: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("monitor.learning.train.preparation.TILED_FRAMES", 5 * 54)
    truths = frames_with_dots(tmp_path, defects=24, masks=masks)
    lines = Lines()
    chosen = prepare(truths, config_for(tmp_path / "out", measured=True, may_freeze=True), SCORER, lines)
    rows, columns = chosen.tiling.tiles
    assert rows * columns >= 4
    assert any("AUC of" in line and f"chosen: {chosen.tiling}" in line for line in lines.said)
    # Without masks nobody knows which tile shows the defect; with them all layers are trained.
    assert chosen.recipe.name == ("default" if masks else "frozen")
    assert chosen.recipe.epochs == (MIN_TILED_EPOCHS if masks else 1)
    followed = balanced(truths, Tiling(tiles=(4, 4)), 400)
    assert len(followed) == 24
    assert sum(truth.sample.defective for truth in followed) == 12
    assert balanced(truths, Tiling(), 400) == truths


def test_what_the_user_gives_is_kept(tmp_path: Path):
    truths = frames_with_dots(tmp_path, defects=4, masks=True)
    lines = Lines()
    config = config_for(tmp_path / "out", tiling=Tiling(tiles=(1, 1)))
    assert prepare(truths, config, SCORER, lines) == config
    assert any("warning: small defects vanish" in line for line in lines.said)


def test_few_defects_train_the_last_layer_alone(tmp_path: Path):
    truths = frames_with_dots(tmp_path, defects=FEW_DEFECTS - 1, masks=True)
    lines = Lines()
    chosen = prepare(truths, config_for(tmp_path / "out", measured=True, may_freeze=True), SCORER, lines)
    assert chosen.recipe.frozen
    assert any(f"{FEW_DEFECTS - 1} defective images are few" in line for line in lines.said)


@pytest.fixture
def two_kinds(surfaces: Path, tmp_path: Path) -> Path:
    """The simulated surface as folders, its defects shared out to two kinds."""
    for number, sample in enumerate(read_samples([surfaces])):
        kind = ("crack", "pit")[number % 2] if sample.defective else "good"
        folder = tmp_path / "kinds" / "part" / kind
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(sample.path, folder / f"{number}.png")
    return tmp_path / "kinds"


def test_the_last_layer_alone_gives_a_bundle_that_runs_and_names_kinds(
    two_kinds: Path, start_weights: str, tmp_path: Path
):
    config = config_for(tmp_path / "out", init=start_weights, measured=True, may_freeze=True, kinds=True)
    samples = read_samples([two_kinds], test_share=0.3)
    bundle = train(
        [sample for sample in samples if sample.split == "Train"],
        config,
        test=[sample for sample in samples if sample.split == "Test"],
    )
    assert bundle.card.training.recipe == "frozen"
    assert {"validation_auc", "test_part_auc", "spoiled_validation_auc"} <= bundle.card.figures.keys()
    read = load_bundle(config.out)
    assert read.kinds is not None
    assert read.kinds.names == ("crack", "pit")
    assert read.familiarity is not None
    pictures = np.stack([reference.picture for reference in read.references])
    scores = read.keras_model().predict(preprocess(read.card, pictures), verbose=0)[:, 1]
    np.testing.assert_allclose(scores, [one.score for one in read.references], atol=1e-4)
    assert not (config.out / "training").exists()
    with pytest.raises(UsageError, match="already holds a model"):
        train([sample for sample in samples if sample.split == "Train"], config)


def test_kinds_need_folders_of_two_kinds(surfaces: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="there is only defect"):
        train(read_samples([surfaces], split="Train"), config_for(tmp_path, kinds=True))
    samples = read_samples([surfaces], split="Train", layout=FolderLayout())
    alone = next(sample for sample in samples if sample.defective)
    changed = [replace(one, category="pit") if one is alone else one for one in samples]
    with pytest.raises(UsageError, match="pit has one"):
        train(changed, config_for(tmp_path, kinds=True))
