"""Cameras whose tiles differ from those of the model's training are found."""

from pathlib import Path

from monitor.bootstrap.inference import cameras_cut_otherwise
from monitor.models.card import read_card
from monitor.settings import parse_settings

CAMERAS = """
[[camera]]
name = "same"
source = "simulate:"
tiles = [2, 2]
overlap = 0.21
[[camera]]
name = "whole"
source = "simulate:"
[[camera]]
name = "apart"
source = "simulate:"
tiles = [2, 2]
"""


def test_other_tiles_than_in_training_are_found(shipped_bundle: Path) -> None:
    settings, card = parse_settings(CAMERAS, "line.toml", {}), read_card(shipped_bundle)
    training = card.training.model_copy(update={"tiles": (2, 2), "overlap": 0.21})
    tiled = card.model_copy(update={"training": training})
    assert [camera.name for camera in cameras_cut_otherwise(settings.camera, tiled)] == ["whole", "apart"]
    assert cameras_cut_otherwise(settings.camera, card) == []
