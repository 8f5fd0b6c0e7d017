"""The console tells early how long a training will take."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from monitor.cli import training_progress
from monitor.cli.training_progress import ConsoleProgress
from monitor.learning.train.checkpoint import EpochMetrics


def test_the_expected_duration_is_reported_once_after_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 103.0, 106.0, 109.0, 112.0, 115.0])  # the first step took long
    monkeypatch.setattr(training_progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    output = io.StringIO()
    with ConsoleProgress(Console(file=output, width=120)) as progress:
        progress.began(2, 12, 20)
        for _ in range(8):
            progress.stepped(0.5)
    # Ten epochs of 20 steps of 3 seconds.
    assert output.getvalue() == "200 steps of training: at least 10 min\n"


def test_time_between_epochs_is_not_taken_for_a_step() -> None:
    output = io.StringIO()
    history = []
    with ConsoleProgress(Console(file=output, width=120)) as progress:
        progress.began(0, 4, 3)
        for _ in range(4):
            for _ in range(3):
                progress.stepped(0.5)
            history.append(EpochMetrics(0.5, 0.4, 0.9))
            progress.epoch_ended(history, 60.0)
    assert "at least" not in output.getvalue()
    assert "epoch 1/4" in output.getvalue()
