"""Lines that several tests look at; preparing them costs a second each."""

import pytest

from monitor.simulate.surface import SurfaceGenerator


@pytest.fixture(scope="session")
def good_line() -> SurfaceGenerator:
    """Twenty-four different surfaces, none defective."""
    return SurfaceGenerator(seed=3, defect_rate=0, textures=24)


@pytest.fixture(scope="session")
def bad_line() -> SurfaceGenerator:
    """The same surfaces, every one defective."""
    return SurfaceGenerator(seed=3, defect_rate=1, textures=24)


@pytest.fixture(scope="session")
def small_line() -> SurfaceGenerator:
    """Small pictures, half of them defective: cheap to write to disk."""
    return SurfaceGenerator(seed=5, width=128, height=96, defect_rate=0.5, textures=3)
