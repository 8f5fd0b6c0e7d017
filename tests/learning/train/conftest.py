"""What the tests of training share."""

from pathlib import Path

import pytest

from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset


@pytest.fixture(scope="session")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated class in the competition's layout; not to be changed."""
    root = tmp_path_factory.mktemp("surfaces")
    write_dataset(
        SurfaceGenerator(seed=3, width=96, height=96, defect_rate=0.5, textures=4), root, train=30, test=8
    )
    return root
