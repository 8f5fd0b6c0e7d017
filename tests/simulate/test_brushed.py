"""The brushed surface: defective where the truth says so and nowhere else."""

import numpy as np
import pytest

from monitor.errors import UsageError
from monitor.simulate.surface import SurfaceGenerator


def lines(side: int) -> tuple[SurfaceGenerator, SurfaceGenerator]:
    every, none = (
        SurfaceGenerator(4, side, side, rate, textures=2, surface="brushed") for rate in (1.0, 0.0)
    )
    return every, none


@pytest.mark.parametrize("side", [96, 256])
def test_a_scratch_lies_in_its_ellipse_and_changes_nothing_else(side: int):
    scratched, clean = lines(side)
    for number in range(6):
        truth = scratched.defect_at(number)
        assert truth is not None
        mask = truth.mask(side, side)
        difference = np.abs(scratched.picture(number).astype(int) - clean.picture(number)).max(axis=2)
        assert difference[mask].max() > 12
        assert difference[~mask].max() <= 2


def test_both_surfaces_differ_and_a_third_is_refused():
    pattern = SurfaceGenerator(4, 96, 96, textures=1).picture(0)
    brushed = SurfaceGenerator(4, 96, 96, textures=1, surface="brushed").picture(0)
    assert brushed.mean() > pattern.mean() + 20
    with pytest.raises(UsageError, match="no simulated surface is called wood; there are pattern, brushed"):
        SurfaceGenerator(4, 96, 96, textures=1, surface="wood")
