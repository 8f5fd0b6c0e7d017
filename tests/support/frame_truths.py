"""Frames whose defects are known without a file."""

from pathlib import Path

import cv2
import numpy as np

from monitor.learning.datasets.near_duplicates import SIDE
from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.tiling import FrameTruth

WIDTH, HEIGHT = 120, 90


def truth_of(mask: np.ndarray, *, is_known: bool = True) -> FrameTruth:
    """Return the truth of a frame with this mask; without `is_known` it is defective, nobody knows where."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    y, x = np.nonzero(labels)
    return FrameTruth(
        Sample(Path("frame.png"), "part", "pit", bool(mask.any()) or not is_known),
        mask.shape[1],
        mask.shape[0],
        np.stack([x, y], axis=1).astype(np.int32),
        (labels[y, x] - 1).astype(np.int32),
        is_known,
        "0" * 16,
        np.zeros(SIDE * SIDE, np.float32),
    )


def with_rectangle(
    left: int, top: int, right: int, bottom: int, *, width: int = WIDTH, height: int = HEIGHT
) -> FrameTruth:
    """Return the truth of a frame with one defect."""
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return truth_of(mask)
