"""Defects and what lies beside them, seen from all sides, where masks tell the place."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from monitor.imaging.geometry import resize_to_input
from monitor.learning.datasets.sample import Sample
from monitor.learning.train.augment import turn
from monitor.learning.train.box_training import FeatureReader
from monitor.learning.train.frozen.last_layer import DefectViews
from monitor.learning.train.input_pipeline import cell_targets, load_shrunk
from monitor.models.card import ModelCard

MIN_BACKGROUND = 0.1
"""Fraction of the cells that must lie beside the defect."""


def view_defects(model: Any, card: ModelCard, tiles: Sequence[Sample]) -> DefectViews:
    """Return the means of the explained layer of `model` over all cells, and over those without a defect.

    Good tiles, and defective ones where the place of the defect is not known, are left out. Only square
    tiles are turned by 90 degrees.
    """
    reader = FeatureReader(model, card)
    channels = int(model.get_layer(card.cam_layer).output.shape[-1])
    none = np.zeros((0, channels), np.float32)
    shown, marked, background = [], [none], [none]
    for index, tile in enumerate(tiles):
        if not tile.defective:
            continue
        image, mask = load_shrunk(tile, card.input_size)
        height, width = image.shape[:2]
        target = cell_targets(mask, card.input_size)
        # A cell also sees what lies around it.
        beside = cv2.dilate((target != 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        if beside.mean() < MIN_BACKGROUND:
            continue
        image = resize_to_input(image, card.input_size)
        for turns in range(0, 4, 1 if height == width else 2):
            for mirrored in (False, True):
                activations = reader([turn(image, turns, mirrored)])[0][0]
                shown.append(index)
                marked.append(activations.mean(axis=(0, 1))[None])
                background.append(activations[turn(beside, turns, mirrored)].mean(axis=0)[None])
    return DefectViews(np.array(shown, np.intp), np.concatenate(marked), np.concatenate(background))
