"""The network: layers of the article, and start weights that fit or are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.errors import ModelError
from monitor.learning.train.architecture import (
    CAM_LAYER,
    CAM_STRIDE,
    load_initial_weights,
    truncated_resnet50,
)


def test_layers_have_the_names_and_shapes_of_the_article():
    model = truncated_resnet50(classes=3, size=(64, 96))
    assert model.get_layer(CAM_LAYER).output.shape == (None, 8, 12, 512)
    assert model.output_shape == (None, 3)
    assert model.layers[-1].name == "dense_out"
    pictures = np.random.default_rng(0).normal(0, 50, (2, 64, 96, 3)).astype(np.float32)
    assert np.asarray(model(pictures)).sum(axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_a_cell_of_the_last_layer_looks_at_every_eighth_pixel():
    """Symmetric kernels and a lone bright pixel: the response lies evenly about the cell that looks at it."""
    import keras

    model = truncated_resnet50(size=(160, 160))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, bias = layer.get_weights()
            layer.set_weights([np.full_like(kernel, 1 / kernel[..., 0].size), bias * 0])
    look = keras.Model(model.input, model.get_layer(CAM_LAYER).output)
    for cell in (8, 10):
        picture = np.zeros((1, 160, 160, 3), np.float32)
        picture[0, CAM_STRIDE * cell, CAM_STRIDE * 9] = 1000
        response = np.asarray(look(picture))[0].sum(axis=-1).astype(float)
        rows, columns = np.mgrid[:20, :20]
        middle = (response * rows).sum() / response.sum(), (response * columns).sum() / response.sum()
        assert middle == pytest.approx((cell, 9), abs=0.05)


def write_weights(model: Any, path: Path, **changes: Any) -> Path:
    arrays = {
        f"{layer.name}/{index}": np.full_like(value, 0.25)
        for layer in model.layers
        for index, value in enumerate(layer.get_weights())
        if layer.name != "dense_out"
    }
    np.savez(path, **{key: value for key, value in (arrays | changes).items() if value is not None})
    return path


@pytest.fixture(scope="module")
def spare() -> Any:
    """A network whose weights anyone may change."""
    return truncated_resnet50(size=(32, 32))


def test_start_weights_fill_all_but_the_head(tmp_path: Path, spare):
    model = spare
    head = model.get_layer("dense_out").get_weights()
    load_initial_weights(model, write_weights(model, tmp_path / "start.npz"))
    for layer in model.layers:
        if layer.name == "dense_out":
            assert np.array_equal(layer.get_weights()[0], head[0])
        else:
            assert all((value == 0.25).all() for value in layer.get_weights())


@pytest.mark.parametrize("change", [None, np.zeros((3, 3), np.float32)])
def test_start_weights_that_do_not_fit_name_the_layer(tmp_path: Path, spare, change):
    path = write_weights(spare, tmp_path / "start.npz", **{"conv2_block1_1_conv/0": change})
    with pytest.raises(ModelError, match="layer conv2_block1_1_conv needs"):
        load_initial_weights(spare, path)


@pytest.mark.parametrize("content", [None, b"", b"nothing"])
def test_start_weights_that_cannot_be_read_are_one_sentence(tmp_path: Path, spare, content: bytes | None):
    path = tmp_path / "start.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be read as an \.npz"):
        load_initial_weights(spare, path)
