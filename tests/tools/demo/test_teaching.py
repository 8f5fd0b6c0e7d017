"""From answers to a better model, in small: the commands of the demonstration, in this process."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.learning.datasets.manifest import read_manifest
from monitor.models.bundle import load_bundle
from monitor.tools.demo.teaching import Watched, choose, teach

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def run(arguments: Sequence[str]) -> None:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, (arguments, done.output, done.exception)


def test_frames_nearest_to_the_threshold_are_labelled_half_of_them_flagged():
    watched = [Watched(number, number / 20, 0.0, False, False) for number in range(20)]
    assert [one.number for one in choose(watched, 0.5, 4)] == [8, 9, 10, 11]
    assert [one.number for one in choose(watched, 0.9, 6)] == [14, 15, 16, 17, 18, 19]
    assert [one.number for one in choose(watched, 0.0, 3)] == [0, 1, 2]
    assert len(choose(watched, 0.05, 20)) == 20


def test_unfamiliar_frames_are_labelled_first_whatever_their_scores():
    watched = [Watched(number, number / 20, 0.0, number >= 10, False) for number in range(20)]
    assert [one.number for one in choose(watched, 0.0, 5)] == [10, 12, 14, 16, 18]
    assert [one.number for one in choose(watched, 0.3, 12)] == [5, 6, *range(10, 20)]


@pytest.mark.timeout(900)  # four networks are prepared: on a busy machine the usual limit is too short
def test_labels_of_a_changed_line_make_a_model_that_knows_both_surfaces(tmp_path: Path):
    found = teach(tmp_path, run, frames=16, budget=16, size=256, textures=1, rounds=1, say=lambda _: None)
    assert found.labels == 16
    assert len(read_manifest(tmp_path / "dataset").images) == 16
    tuned = load_bundle(found.model)
    assert tuned.memory is not None
    assert set(tuned.memory.surfaces) == {"Class1", "Simulated", "dataset"}
    assert found.before.unfamiliar > 0.9
    assert found.after.unfamiliar < 0.5
    assert found.after.auc > found.before.auc
    assert "images" in (tmp_path / "compare-1.html").read_text()
