"""The features of defective images beside their defects, where masks tell the place."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets.sample import Sample
from monitor.learning.train.box_training import FeatureReader
from monitor.learning.train.input_pipeline import load_sample
from monitor.models.card import ModelCard

MIN_BACKGROUND = 0.1
"""Fraction of the cells that must lie beside the defect."""


def background_features(model: Any, card: ModelCard, tiles: Sequence[Sample]) -> NDArray[np.float32]:
    """Return the means (t, c) of the explained layer of `model` over the cells that show no defect.

    Not a number for good tiles, and where the place of the defect is not known.
    """
    reader = FeatureReader(model, card)
    channels = int(model.get_layer(card.cam_layer).output.shape[-1])
    found = np.full((len(tiles), channels), np.nan, np.float32)
    for index, tile in enumerate(tiles):
        if not tile.defective:
            continue
        image, _, target = load_sample(tile, card.input_size, None)
        # A cell also sees what lies around it.
        beside = cv2.dilate((target != 0).astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
        if beside.mean() >= MIN_BACKGROUND:
            found[index] = reader([image])[0][0][beside].mean(axis=0)
    return found
