"""Models as users save them: explained like the same network with its head in one layer, or refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from monitor.errors import ModelError, MonitorError, UsageError
from monitor.explain import Explainer
from monitor.explain.instrumented import InstrumentedModel
from monitor.explain.targets import load_model_file

# Keras itself calls NumPy in a deprecated way when it saves a model.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

METHODS = ["faster-score-cam", "score-cam", "grad-cam", "grad-cam++", "guided-backprop", "guided-grad-cam"]


def body(units: int | None = None) -> list[Any]:
    keras.utils.set_random_seed(7)
    head = [] if units is None else [layers.Dense(units, kernel_initializer="random_normal", name="scores")]
    maps = layers.Conv2D(6, 3, activation="relu", name="maps")
    return [keras.Input((24, 32, 3)), maps, layers.GlobalAveragePooling2D(), *head]


def fused(activation: str | None, units: int = 3) -> Any:
    model = keras.Sequential(body(units))
    model.layers[-1].activation = keras.activations.get(activation)
    return keras.Sequential([keras.Input((24, 32, 3)), *model.layers])


def quickstart(last: Any) -> Any:
    return keras.Sequential([keras.Sequential(body(3)), last])


def functional(finish: Callable[[Any], Any]) -> Any:
    inputs, *rest = body(3)
    x = inputs
    for layer in rest:
        x = layer(x)
    return keras.Model(inputs, finish(x))


def deep(last: Any) -> Any:
    inner = keras.Sequential([keras.Sequential(body(3)), layers.Identity()])
    return keras.Sequential([keras.Input((24, 32, 3)), keras.Sequential([inner, last]), layers.Flatten()])


def second_output_of_a_nested_model() -> Any:
    inputs, maps, pool, scores = body(3)
    features = pool(maps(inputs))
    nested = keras.Model(inputs, [features, layers.Softmax()(scores(features))])
    outer = keras.Input((24, 32, 3))
    return keras.Model(outer, nested(outer)[1])


def fully_convolutional() -> Any:
    inputs, maps, *_ = body(3)
    x = layers.GlobalAveragePooling2D(keepdims=True)(maps(inputs))
    return keras.Model(inputs, layers.Flatten()(layers.Conv2D(3, 1, activation="softmax")(x)))


SOFTMAX = {
    "layers.Softmax": lambda: quickstart(layers.Softmax()),
    "layers.Activation": lambda: quickstart(layers.Activation("softmax")),
    "functional Softmax": lambda: functional(layers.Softmax()),
    "Softmax of axis 1": lambda: functional(layers.Softmax(axis=1)),
    "keras.ops.softmax": lambda: functional(keras.ops.softmax),
    "keras.activations.softmax": lambda: functional(keras.activations.softmax),
    "nested three deep": lambda: deep(layers.Softmax()),
    "nested Activation": lambda: deep(layers.Activation("softmax")),
    "Softmax then Reshape": lambda: functional(lambda x: layers.Reshape((3,))(layers.Softmax()(x))),
    "dictionary of one output": lambda: functional(lambda x: {"scores": layers.Softmax()(x)}),
    "list of one output": lambda: functional(lambda x: [layers.Softmax()(x)]),
    "second output of a nested model": second_output_of_a_nested_model,
    "float32 at the end": lambda: functional(layers.Activation("softmax", dtype="float32")),
}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(2).uniform(0, 1, (2, 24, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("make", SOFTMAX.values(), ids=SOFTMAX)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_softmax_anywhere_at_the_end_is_as_one_in_the_last_layer(
    tmp_path: Path, images: np.ndarray, make: Callable[[], Any], ending: str
):
    path = tmp_path / f"model{ending}"
    make().save(path)
    loaded = load_model_file(path, "unit").model
    network = InstrumentedModel(loaded)
    network.verify()
    assert network.head == "softmax"
    expected = Explainer(fused("softmax"), "maps").explain(images, method="grad-cam")
    found = Explainer(loaded, network.layer).explain(images, method="grad-cam")
    np.testing.assert_allclose(found.score, expected.score, atol=1e-5)
    np.testing.assert_allclose(found.heat, expected.heat, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_a_model_that_ends_in_a_softmax_layer(images: np.ndarray, method: str):
    expected = Explainer(fused("softmax"), "maps").explain(images, method=method)
    found = Explainer(quickstart(layers.Softmax())).explain(images, method=method)
    assert found.target.tolist() == expected.target.tolist()
    np.testing.assert_allclose(found.heat, expected.heat, atol=1e-4)


HEADS = {
    "sigmoid layer": (lambda: functional(layers.Activation("sigmoid")), "sigmoid"),
    "keras.ops.sigmoid": (lambda: functional(keras.ops.sigmoid), "sigmoid"),
    "logits": (lambda: functional(lambda x: x), "logits"),
    "log_softmax": (lambda: functional(layers.Activation("log_softmax")), "logits"),
    "fully convolutional": (fully_convolutional, "softmax"),
}


@pytest.mark.parametrize(("make", "head"), HEADS.values(), ids=HEADS)
def test_other_heads_are_recognised_and_give_the_models_own_scores(make: Callable[[], Any], head: str):
    network = InstrumentedModel(make())
    network.verify()
    assert network.head == head


class Doubling(layers.Layer):
    """A layer that cannot be run on tensors without a batch size."""

    def call(self, x: Any) -> Any:
        return x * 2


REFUSED = {
    "several outputs": lambda: functional(lambda x: [layers.Softmax()(x), x]),
    "a dictionary of outputs": lambda: functional(lambda x: {"a": layers.Softmax()(x), "b": x}),
    "ReLU at the end": lambda: functional(layers.ReLU()),
    "tanh at the end": lambda: functional(layers.Activation("tanh")),
    "a custom layer at the end": lambda: functional(Doubling()),
    "averaged networks": lambda: functional(lambda x: layers.Average()([x, x])),
    "maps as output": lambda: keras.Sequential(body()[:2]),
    "vectors as input": lambda: keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")]),
    "six channels": lambda: keras.Sequential(
        [keras.Input((24, 32, 6)), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D(), layers.Softmax()]
    ),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_what_cannot_be_explained_is_refused_in_one_sentence(
    tmp_path: Path, make: Callable[[], Any], ending: str
):
    path = tmp_path / f"model{ending}"
    make().save(path)
    with pytest.raises(MonitorError) as caught:
        InstrumentedModel(load_model_file(path, "unit").model).verify()
    assert "\n" not in str(caught.value)
    assert 20 < len(str(caught.value)) < 400


def test_a_wrong_head_is_noticed():
    network = InstrumentedModel(functional(layers.Activation("tanh")), head="softmax")
    with pytest.raises(UsageError, match="its scores are not reproduced"):
        network.verify()


def test_a_head_that_was_named_is_taken():
    network = InstrumentedModel(functional(lambda x: layers.Average()([x, x])), head="logits")
    network.verify()
    assert network.head == "logits"


@pytest.mark.parametrize("damage", ["weights alone", "no model", "unknown layer", "unknown activation"])
def test_an_older_file_that_cannot_be_loaded_is_one_sentence(tmp_path: Path, damage: str):
    path = tmp_path / "old.h5"
    if damage == "no model":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    elif damage == "weights alone":
        with h5py.File(path, "w") as file:
            file["a"] = 1
    else:
        fused("softmax").save(path)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            last = config["config"]["layers"][-1]
            if damage == "unknown layer":
                last["class_name"] = "SlicingOpLambda"
            else:
                last["config"]["activation"] = "softmax_v2"
            file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(ModelError, match=r"old\.h5 cannot be loaded.*save it again") as caught:
        load_model_file(path, "unit")
    assert "\n" not in str(caught.value)
