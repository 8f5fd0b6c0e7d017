"""The command itself, in processes of its own: one is killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import DataError, ModelError, UsageError
from monitor.learning.datasets import read_samples
from monitor.learning.train.config import TrainingConfig
from monitor.learning.train.recipe import DEFAULT
from monitor.learning.train.reference_images import select_indices
from monitor.learning.train.trainer import train
from monitor.models.bundle import ModelBundle, load_bundle


def command(surfaces: Path, out: Path, *options: str) -> list[str]:
    given = ["--data", str(surfaces), "--out", str(out), "--size", "32", "--init", "none", "--epochs", "4"]
    return [sys.executable, "-m", "monitor", "train", *given, *options]


ENVIRONMENT = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "2", "COLUMNS": "200"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=240, check=False
    )


@pytest.fixture(scope="module")
def unbroken(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """What the command writes when nobody interrupts it."""
    out = tmp_path_factory.mktemp("unbroken") / "model"
    done = run(*command(surfaces, out))
    assert done.returncode == 0, done.stderr
    return load_bundle(out)


def test_training_ends_with_a_bundle_whose_card_says_how(unbroken: ModelBundle):
    card = unbroken.card
    assert card.training.epochs == 4
    assert 1 <= card.training.kept_epoch <= 4
    assert "--init none" in card.training.command
    assert sum(int(line.split()[1]) for line in card.training.data) == 30
    assert {
        "validation_auc",
        "validation_misses",
        "test_Simulated_auc",
        "test_Simulated_lowest_defect",
    } <= card.figures.keys()
    assert card.figures["test_Simulated_pictures"] == 8
    assert 0 <= card.figures["expected_miss_rate"] <= card.figures["expected_miss_rate_high"] <= 1
    assert len(card.training.trained) + len(card.training.validated) == 30
    assert not set(card.training.trained) & set(card.training.validated)
    assert (card.training.roi, card.training.tiles, card.training.overlap) == (None, (1, 1), 0.0)
    assert unbroken.familiarity is not None
    assert card.format == 3
    assert unbroken.memory is not None
    assert set(unbroken.memory.keys) >= {*card.training.trained, *card.training.validated}
    assert unbroken.keras_model().input_shape == (None, 32, 32, 3)
    assert {path.suffix for path in unbroken.path.iterdir()} == {".json", ".keras", ".npz", ".png"}


def test_a_trained_bundle_carries_reference_pictures_with_the_scores_it_gives_them(unbroken: ModelBundle):
    from monitor.models.preprocessing import preprocess

    pictures = np.stack([reference.picture for reference in unbroken.references])
    scores = unbroken.keras_model().predict(preprocess(unbroken.card, pictures), verbose=0)[:, 1]
    np.testing.assert_allclose(scores, [reference.score for reference in unbroken.references], atol=1e-5)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([0.9, 0.1, 0.6, 0.3], [3, 1, 2, 0]),  # all there are, those near the threshold first
        ([0.05 * step for step in range(20)], [9, 6, 3, 0, 10, 13, 16, 19]),
        ([0.9, 0.8], [1, 0]),
    ],
)
def test_references_reach_from_the_threshold_to_the_surest_of_either_verdict(scores, chosen):
    assert select_indices(np.float32(scores), 0.5) == chosen


def test_killed_in_the_third_epoch_it_resumes_to_the_same_model(
    surfaces: Path, unbroken: ModelBundle, tmp_path: Path
):
    out = tmp_path / "model"
    with subprocess.Popen(
        command(surfaces, out), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2/4"):
                process.kill()
                break
        process.wait()
    best_so_far = load_bundle(out)
    assert best_so_far.card.training.kept_epoch <= 2
    assert best_so_far.keras_model().output_shape == (None, 2)

    resumed = run(*command(surfaces, out, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 2/4" not in resumed.stdout
    after = load_bundle(out)
    assert after.card.figures == unbroken.card.figures
    assert after.card.threshold == unbroken.card.threshold
    for mine, other in zip(
        after.keras_model().get_weights(), unbroken.keras_model().get_weights(), strict=True
    ):
        assert np.allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_a_mistake_in_the_data_is_one_sentence_and_leaves_no_folder(surfaces: Path, tmp_path: Path):
    shutil.copytree(surfaces, tmp_path / "broken")
    picture = tmp_path / "broken" / "Simulated" / "Train" / "0001.PNG"
    picture.write_bytes(picture.read_bytes()[:300])
    done = run(*command(tmp_path / "broken", tmp_path / "out"))
    assert done.returncode == 1
    assert str(picture) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_model_is_not_replaced_unasked(surfaces: Path, unbroken: ModelBundle):
    config = TrainingConfig(name="toy", out=unbroken.path, recipe=DEFAULT, init="none", size=(32, 32))
    with pytest.raises(UsageError, match="already holds a model"):
        train(read_samples([surfaces], split="Train"), config)
    assert load_bundle(unbroken.path).card == unbroken.card


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_learnt(surfaces: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    config = TrainingConfig(
        name="toy", out=tmp_path / "file" / "out", recipe=DEFAULT, init="none", size=(32, 32)
    )
    with pytest.raises(ModelError, match="cannot be written to"):
        train(read_samples([surfaces], split="Train"), config)


def test_too_few_defects_to_set_some_aside_are_refused(surfaces: Path, tmp_path: Path):
    samples = read_samples([surfaces], split="Train")
    few = [sample for sample in samples if not sample.defective]
    few.append(next(sample for sample in samples if sample.defective))
    with pytest.raises(DataError, match=r"too few images: the validation part of .* has no defective one"):
        train(few, TrainingConfig(name="toy", out=tmp_path, recipe=DEFAULT))


def test_a_model_trained_on_tiles_says_so_and_is_evaluated_on_them(surfaces: Path, tmp_path: Path):
    out = tmp_path / "model"
    done = run(*command(surfaces, out, "--tiles", "2x2", "--overlap", "0.2", "--epochs", "1"))
    assert done.returncode == 0, done.stderr
    card = load_bundle(out).card
    assert (card.training.tiles, card.training.overlap) == ((2, 2), 0.2)
    evaluated = run(
        *(sys.executable, "-m", "monitor", "evaluate", "--model", str(out), "--data", str(surfaces)),
        *("--split", "all", "--no-robustness", "--json"),
    )
    assert evaluated.returncode == 0, evaluated.stderr
    document = json.loads(evaluated.stdout)
    assert document["frames"]["tiles"] == [2, 2]
    used = [one["used"] for one in document["pictures"]]
    assert used.count("train") + used.count("validation") == 30
    assert used.count(None) == 8
    assert "--unseen" in evaluated.stderr
    test = {one["path"]: one["score"] for one in document["pictures"] if one["used"] is None}
    defects = [score for path, score in test.items() if "Test" in path]
    assert len(defects) == 8
    misses = sum(
        one["defective"] and one["score"] < card.threshold
        for one in document["pictures"]
        if one["used"] is None
    )
    assert misses == card.figures["test_Simulated_misses"]
