"""States of a training on disk: whole, of the same data, or refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from monitor.cli.training_progress import sparkline
from monitor.errors import ModelError, UsageError
from monitor.learning.train.checkpoint import (
    Checkpoint,
    EpochMetrics,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)

STATE = Checkpoint(
    "print",
    (EpochMetrics(2.0, 1.5, 0.5), EpochMetrics(1.0, 0.7, 0.9), EpochMetrics(0.8, 0.7, 0.8)),
    {"0": np.arange(6, dtype=np.float32).reshape(2, 3), "1": np.array(7)},
)


def test_a_state_comes_back_as_it_was_written(tmp_path: Path):
    save_checkpoint(tmp_path, STATE)
    again = load_checkpoint(tmp_path, "print")
    assert again.history == STATE.history
    assert again.arrays.keys() == STATE.arrays.keys()
    assert all(np.array_equal(again.arrays[key], STATE.arrays[key]) for key in STATE.arrays)
    assert again.best_epoch == 2


def test_a_state_of_other_data_is_not_resumed(tmp_path: Path):
    save_checkpoint(tmp_path, STATE)
    with pytest.raises(UsageError, match="other data or settings"):
        load_checkpoint(tmp_path, "other")


def test_without_a_state_there_is_nothing_to_resume(tmp_path: Path):
    save_checkpoint(tmp_path, STATE)
    remove_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="no interrupted training"):
        load_checkpoint(tmp_path, "print")


def test_a_broken_state_is_one_sentence(tmp_path: Path):
    save_checkpoint(tmp_path, STATE)
    path = tmp_path / "training" / "state.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path, "print")


def test_a_write_that_fails_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_checkpoint(tmp_path, STATE)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(ModelError, match="No space left"):
            save_checkpoint(tmp_path, Checkpoint("print", (), {}))
    assert load_checkpoint(tmp_path, "print").history == STATE.history


def test_a_curve_falls_as_its_values_do():
    assert sparkline([4, 3, 2, 1, 0]) == "█▇▅▃▁"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([float("inf"), 1]) == "▁▁"
