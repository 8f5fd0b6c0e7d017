"""A small data set whose defects are bright discs, and a network of plain functions that sees brightness."""

import cv2
import numpy as np
import pytest

from monitor.inference.handle import CamHeat, Classification
from monitor.learning.datasets import read_samples
from monitor.learning.evaluate.model_under_test import ModelUnderTest
from monitor.models.novelty import NoveltyScore

INPUT, CELLS = 64, 16


def cells_of(pictures):
    side = INPUT // CELLS
    return pictures[..., 0].reshape(-1, CELLS, side, CELLS, side).mean(axis=(2, 4)).astype(np.float32)


def classify(pictures):
    assert pictures.dtype == np.uint8
    assert 1 <= len(pictures) <= 4
    bright = pictures.reshape(len(pictures), -1).max(axis=1) / np.float32(255)
    distances = np.abs(pictures[..., 0].mean(axis=(1, 2)) - 92) / 10
    novelty = [NoveltyScore(float(distance), 1.0) for distance in distances]
    return Classification(bright.astype(np.float32), novelty, list(cells_of(pictures)))


def explain(picture, evidence):
    cells = cells_of(picture[None])[0] if evidence is None else evidence
    heat = np.maximum(cells - 110, 0)
    peak = float(heat.max())
    return CamHeat((heat / peak if peak else heat).astype(np.float32), peak, "brightness", 1)


@pytest.fixture(scope="session")
def network():
    return ModelUnderTest(
        name="brightness",
        sha256="0" * 64,
        fit=lambda image: cv2.resize(image, (INPUT, INPUT), interpolation=cv2.INTER_AREA),
        classify=classify,
        explain=explain,
        limit=1.0,
        threshold=0.6,
        heat_threshold=0.5,
        minimum_area=0.0,
        input_size=(INPUT, INPUT),
        cell_offset=(1.5, 1.5),
        batch=4,
    )


@pytest.fixture(scope="session")
def surface(tmp_path_factory):
    """A folder with nine good parts, one of them bright, and five defects, one of them dark."""
    root = tmp_path_factory.mktemp("data") / "plate"
    random = np.random.default_rng(11)
    for number in range(14):
        image = random.integers(80, 100, (160, 200)).astype(np.uint8)
        mask = np.zeros((160, 200), np.uint8)
        kind = "good" if number < 9 else "spot"
        if kind == "spot":
            x, y = (int(v) for v in random.integers(40, 120, 2))
            cv2.circle(mask, (x, y), 18, 255, -1)
            image[mask > 0] = 120 if number == 13 else 240
            path = root / "masks" / kind / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), mask)
        elif number == 0:
            image[60:76, 90:106] = 200
        path = root / kind / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    return root


@pytest.fixture(scope="session")
def samples(surface):
    return read_samples([surface])
