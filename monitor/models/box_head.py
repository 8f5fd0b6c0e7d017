"""Predict how far a defect reaches from a cell of the explained layer, from the activations around the cell.

Class activation maps show where a defect lies, but not how large it is: their outline depends on a threshold.
"""

import io
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError
from monitor.models.arrays import open_arrays

WINDOWS = ((0, 0, 0), (0, 0, 1), (0, 0, 3), (0, -3, 1), (-3, 0, 1), (0, 3, 1), (3, 0, 1))
"""Around a cell, activations are averaged over these windows: row, column, and cells on each side."""

_REACH = 4
"""Cells from the cell to the end of the farthest window."""

_MAX_LOG = 7.0
"""Natural logarithm of the largest extent, about 1100 pixels: no weights make infinite boxes."""


@dataclass(frozen=True, slots=True, eq=False)
class BoxHead:
    """A projection of c channels to d, and two dense layers on the windows around a cell.

    `projection` (c, d) and `offset` (d,) reduce the activations; `hidden` (windows * d, h), `hidden_bias`
    (h,), `output` (h, 4) and `output_bias` (4,) map them to logarithms of extents in pixels of the input.
    All float32.
    """

    projection: NDArray[np.float32]
    offset: NDArray[np.float32]
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def extents(self, activations: NDArray[np.float32], cells: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return how far a defect at each of `cells` (rows, columns) reaches.

        `activations` is (rows, columns, c). Returns (rows, columns, 4): pixels of the input from the cell's
        centre to the left, top, right and bottom; 0 for the other cells.
        """
        found = np.zeros((*cells.shape, 4), np.float32)
        if not cells.any():
            return found
        rows, columns = np.nonzero(cells)
        # No window of a cell reaches beyond this part, which is small: a defect covers a few cells.
        top, left = max(rows.min() - _REACH, 0), max(columns.min() - _REACH, 0)
        part = activations[top : rows.max() + _REACH + 1, left : columns.max() + _REACH + 1]
        context = window_means(part @ self.projection + self.offset)[rows - top, columns - left]
        inner = np.maximum(context @ self.hidden + self.hidden_bias, 0)
        found[rows, columns] = np.exp(np.minimum(inner @ self.output + self.output_bias, _MAX_LOG))
        return found

    def to_bytes(self) -> bytes:
        """Return the arrays as the bytes of an .npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, **{field.name: getattr(self, field.name) for field in fields(self)})
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "BoxHead":
        """Read what `to_bytes` wrote; runs nothing from it. Raises `ModelError`."""
        with open_arrays(content, "box head") as arrays:
            head = cls(*(arrays[field.name].astype(np.float32) for field in fields(cls)))
        inner = head.projection.shape[-1], head.hidden.shape[-1]
        shapes = [getattr(head, field.name).shape for field in fields(cls)][1:]
        if head.projection.ndim != 2 or shapes != [
            (inner[0],),
            (len(WINDOWS) * inner[0], inner[1]),
            (inner[1],),
            (inner[1], 4),
            (4,),
        ]:
            raise ModelError("the model's box head holds arrays that do not fit together")
        return head


def window_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average `values` (rows, columns, d) over each of `WINDOWS` around each cell: (rows, columns, w * d).

    Beyond the border, the nearest cell is repeated.
    """
    rows, columns, depth = values.shape
    padded = np.pad(values, ((_REACH, _REACH), (_REACH, _REACH), (0, 0)), mode="edge")
    sums = np.zeros((padded.shape[0] + 1, padded.shape[1] + 1, depth), np.float64)
    np.cumsum(np.cumsum(padded, axis=0, dtype=np.float64), axis=1, out=sums[1:, 1:])
    means = []
    for down, right, reach in WINDOWS:
        top, left, size = _REACH + down - reach, _REACH + right - reach, 2 * reach + 1
        corners = [
            sums[y : y + rows, x : x + columns] for y in (top, top + size) for x in (left, left + size)
        ]
        means.append((corners[3] - corners[2] - corners[1] + corners[0]) / size**2)
    return np.concatenate(means, axis=-1).astype(np.float32)
