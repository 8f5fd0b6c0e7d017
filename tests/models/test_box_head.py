"""The box head reads the activations around each cell, and refuses files that do not fit."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ModelError
from monitor.models.box_head import WINDOWS, BoxHead, window_means

RANDOM = np.random.default_rng(3)


def a_head(channels: int = 6, depth: int = 3, units: int = 5) -> BoxHead:
    def array(*shape: int) -> np.ndarray:
        return RANDOM.normal(size=shape).astype(np.float32)

    return BoxHead(
        array(channels, depth),
        array(depth),
        array(len(WINDOWS) * depth, units),
        array(units),
        array(units, 4),
        array(4),
    )


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**16))
def test_windows_are_means_around_each_cell(rows: int, columns: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, columns, 2)).astype(np.float32)
    means = window_means(values).reshape(rows, columns, len(WINDOWS), 2)
    row, column = seed % rows, seed % columns
    for index, (down, right, reach) in enumerate(WINDOWS):
        near = [
            values[min(max(row + down + y, 0), rows - 1), min(max(column + right + x, 0), columns - 1)]
            for y in range(-reach, reach + 1)
            for x in range(-reach, reach + 1)
        ]
        np.testing.assert_allclose(means[row, column, index], np.mean(near, axis=0), atol=1e-5)


def test_extents_are_positive_and_finite_for_each_cell() -> None:
    activations = 1000 * RANDOM.random((7, 9, 6)).astype(np.float32)
    extents = a_head().extents(activations, np.ones((7, 9), bool))
    assert extents.shape == (7, 9, 4)
    assert extents.dtype == np.float32
    assert (extents >= 0).all()
    assert np.isfinite(extents).all()


def test_what_is_written_is_read_again() -> None:
    head = a_head()
    activations = RANDOM.random((4, 4, 6)).astype(np.float32)
    again = BoxHead.from_bytes(head.to_bytes())
    every = np.ones((4, 4), bool)
    np.testing.assert_array_equal(again.extents(activations, every), head.extents(activations, every))


@given(st.integers(0, 2**16))
def test_a_cell_has_the_same_extents_whichever_others_are_asked_for(seed: int) -> None:
    random = np.random.default_rng(seed)
    head, activations = a_head(), random.random((14, 17, 6)).astype(np.float32)
    cells = random.random((14, 17)) < 0.02
    found, every = head.extents(activations, cells), head.extents(activations, np.ones((14, 17), bool))
    np.testing.assert_allclose(found[cells], every[cells], rtol=1e-4)
    assert not found[~cells].any()


def test_a_file_that_is_none_or_does_not_fit_is_refused() -> None:
    with pytest.raises(ModelError, match="box head cannot be read"):
        BoxHead.from_bytes(b"nothing")
    buffer = io.BytesIO()
    np.savez(buffer, projection=np.zeros((6, 3)))
    with pytest.raises(ModelError, match="box head cannot be read"):
        BoxHead.from_bytes(buffer.getvalue())
    head = a_head()
    other = BoxHead(head.projection, head.offset, head.hidden[:-1], *list_of(head)[3:])
    with pytest.raises(ModelError, match="do not fit together"):
        BoxHead.from_bytes(other.to_bytes())


def list_of(head: BoxHead) -> list[np.ndarray]:
    return [head.projection, head.offset, head.hidden, head.hidden_bias, head.output, head.output_bias]
