"""Where a network's cells look, measured on pictures whose defects are known.

Padding and strides say where the middle of a cell's field lies. Trained filters need not be balanced
around it: in ResNet50 with ImageNet weights those behind each stride lean to the right and downwards,
and how far they lean in all depends on what was learnt after. So it is measured once per model.
"""

from collections.abc import Iterable

import numpy as np

from monitor.errors import DataError
from monitor.records import Heat


def measured_offset(
    sightings: Iterable[tuple[Heat, tuple[float, float]]],
    *,
    input_size: tuple[int, int],
    threshold: float = 0.5,
) -> tuple[float, float]:
    """The input pixel (x, y) that cell (0, 0) looks at, so that heat lies over the defects in the median.

    Each sighting is the heat (rows, columns), 0..1, of one picture with one defect, and the defect's centre
    (x, y) in pixels of the network's input, which is `input_size` (height, width). Cells below `threshold`
    count for nothing, and so do pictures without heat. Raises DataError where none has any.
    """
    offsets = []
    for heat, centre in sightings:
        warm = np.maximum(heat - threshold, 0)  # fades out, so that no cell enters with a jump
        if not warm.any():
            continue
        steps = input_size[1] / heat.shape[1], input_size[0] / heat.shape[0]
        column = float(np.average(np.arange(heat.shape[1]), weights=warm.sum(axis=0)))
        row = float(np.average(np.arange(heat.shape[0]), weights=warm.sum(axis=1)))
        offsets.append((centre[0] - column * steps[0], centre[1] - row * steps[1]))
    if not offsets:
        raise DataError("no picture with a labelled defect has any heat, so where the cells look is unknown")
    x, y = np.median(offsets, axis=0)
    return float(x), float(y)
