"""The command that cross-validates a box head and stores one in a bundle."""

import shutil
from pathlib import Path

import pytest

from monitor.learning.datasets import read_samples
from monitor.learning.datasets.tiling import read_truth
from monitor.learning.train.box_training import HIDDEN
from monitor.learning.train.box_validation import main
from monitor.models.bundle import ModelBundle, load_bundle
from monitor.models.card import CARD_NAME, write_card

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_head_is_trained_on_the_training_frames_and_measured_on_the_others(
    small_bundle: ModelBundle, surfaces: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    training = "monitor.learning.train.box_training"
    for name, value in (("STEPS", 4), ("BATCH", 8), ("VIEWS", 2)):
        monkeypatch.setattr(f"{training}.{name}", value)
    monkeypatch.setattr("monitor.learning.train.box_validation.FOLDS", 2)
    monkeypatch.setattr("monitor.learning.train.box_validation.PARTITIONS", 1)
    samples = [sample for sample in read_samples([surfaces]) if sample.defective]
    known = [read_truth(sample).content for sample in samples]
    folder, card = tmp_path / "small", small_bundle.card
    shutil.copytree(small_bundle.path, folder)
    known_to_card = {"trained": tuple(known[:-5]), "validated": tuple(known[-5:-3])}
    changed = {"threshold": 0.01, "training": card.training.model_copy(update=known_to_card)}
    card = card.model_copy(update=changed)
    (folder / CARD_NAME).write_text(write_card(card))

    main(folder, surfaces, ["Simulated"], write=True)

    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("box head, partition") for line in lines) == 1
    assert any(line.startswith("heat alone: defects=" + str(len(known))) for line in lines)
    assert "box head of the training frames, frames set aside: defects=3.000 " in "\n".join(lines)
    written = load_bundle(folder)
    assert written.box_head is not None
    assert written.box_head.hidden.shape[1] == HIDDEN
    (found,) = [line for line in lines if "box head of the training frames, validation frames" in line]
    median = written.card.figures["validation_median_overlap_box_head"]
    assert f"defects=2.000 median_overlap={median:.3f} " in found
    assert written.card.model == card.model
