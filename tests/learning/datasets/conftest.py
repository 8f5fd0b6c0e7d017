"""Datasets on disk in each layout."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated class in the competition's layout; not to be changed."""
    root = tmp_path_factory.mktemp("simulated")
    write_dataset(
        SurfaceGenerator(seed=3, width=96, height=96, defect_rate=0.5, textures=4), root, train=12, test=8
    )
    return root


@pytest.fixture
def competition(simulated: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled: the class's folder."""
    shutil.copytree(simulated / "Simulated", tmp_path / "data" / "Simulated")
    return tmp_path / "data" / "Simulated"


Writer = Callable[[Path, int], Path]


@pytest.fixture
def write() -> Writer:
    """Write a picture of 16x12 pixels that no other number gives."""

    def write(path: Path, number: int) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (12, 16), np.uint8)
        assert cv2.imwrite(str(path), pixels)
        return path

    return write


@pytest.fixture
def folders(tmp_path: Path, write: Writer) -> Path:
    """good/ with six pictures, scratch/ with four, pit/ with two."""
    root = tmp_path / "part"
    number = 0
    for kind, count in (("good", 6), ("scratch", 4), ("pit", 2)):
        for index in range(count):
            write(root / kind / f"{index}.png", number)
            number += 1
    return root
