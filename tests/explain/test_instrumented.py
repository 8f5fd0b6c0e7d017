"""Opening a model: which layer, which head, and nothing done to the user's model."""

import keras
import numpy as np
import pytest

from monitor.errors import UsageError
from monitor.explain.instrumented import InstrumentedModel, choose_layer


def nested(classifier):
    """Two models within a model, and the head of the whole inside the inner one."""
    inner = classifier()
    middle = keras.Sequential([keras.Input((32, 48, 3)), keras.layers.Identity(), inner], name="middle")
    return keras.Sequential([keras.Input((32, 48, 3)), middle, keras.layers.Flatten()])


def test_the_last_layer_with_spatial_extent_is_taken(classifier):
    assert choose_layer(classifier()).path == "last"


def test_the_last_layer_is_found_inside_nested_models_and_chosen_by_path_or_bare_name(classifier):
    model = nested(classifier)
    path = choose_layer(model).path
    assert path.startswith("middle/")
    assert path.endswith("/last")
    assert choose_layer(model, path).path == path
    assert choose_layer(model, "second").path.endswith("/second")


def test_a_global_pool_that_keeps_its_axes_has_no_spatial_extent():
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="maps")(x)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = keras.layers.Conv2D(2, 1)(x)
    x = keras.layers.Softmax()(keras.layers.Flatten()(x))
    assert choose_layer(keras.Model(inputs, x)).path == "maps"


def test_a_bare_name_that_two_nested_models_share_is_refused(classifier):
    inputs = keras.Input((32, 48, 3))
    one, two = classifier(), classifier()
    model = keras.Model(inputs, keras.layers.Average()([one(inputs), two(inputs)]))
    with pytest.raises(UsageError, match=r"several layers are called 'last': .*/last, .*/last"):
        choose_layer(model, "last")


def test_a_wrong_name_is_answered_with_the_nearest(classifier):
    with pytest.raises(UsageError, match=r"no layer 'secnd'; nearest are second"):
        choose_layer(classifier(), "secnd")


def test_a_layer_without_rows_and_columns_is_refused(classifier):
    with pytest.raises(UsageError, match=r"'pool' outputs \(None, 12\).*the last layer with them is last"):
        choose_layer(classifier(), "pool")


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(
    ("head", "units"), [("softmax", 3), ("sigmoid", 3), ("sigmoid", 1), ("logits", 3), ("logits", 1)]
)
def test_heads_are_recognised_and_get_exactly_one_activation(classifier, pictures, separate, head, units):
    model = classifier(units, "linear" if head == "logits" else head, separate=separate)
    network = InstrumentedModel(model)
    assert network.head == head
    assert network.classes == max(units, 2)
    given = model(pictures, training=False).numpy()
    _, logits = network.forward(pictures)
    bare = classifier(units, None)(pictures, training=False).numpy()
    np.testing.assert_allclose(logits, bare, atol=1e-5)
    probabilities = network.probabilities(logits).numpy()
    if head == "logits":
        given = keras.ops.sigmoid(given) if units == 1 else keras.ops.softmax(given)
    expected = np.concatenate([1 - given, given], axis=1) if units == 1 else given
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def test_the_output_of_a_network_is_what_the_model_gives(classifier, pictures):
    for activation in ("softmax", "sigmoid", None):
        model = classifier(3, activation)
        network = InstrumentedModel(model)
        np.testing.assert_allclose(
            network.outputs(network.forward(pictures)[1]), model(pictures, training=False), atol=1e-6
        )


def test_the_softmax_of_a_single_logits_outputs_is_its_sigmoid(classifier, pictures):
    network = InstrumentedModel(classifier(1, None))
    _, logits = network.forward(pictures)
    np.testing.assert_allclose(
        keras.ops.softmax(network.outputs(logits)), network.probabilities(logits), atol=1e-6
    )


def test_a_head_inside_a_nested_model_is_recognised(classifier, pictures):
    model = nested(classifier)
    network = InstrumentedModel(model)
    assert network.head == "softmax"
    maps, logits = network.forward(pictures)
    assert maps.shape == (4, 8, 12, 12)
    np.testing.assert_allclose(network.probabilities(logits), model(pictures, training=False), atol=1e-6)


def test_a_head_that_hides_its_activation_is_asked_for(classifier, pictures):
    inputs = keras.Input((32, 48, 3))
    hidden = classifier(3, "linear")
    scores = hidden(inputs)
    model = keras.Model(inputs, keras.ops.exp(scores) / keras.ops.sum(keras.ops.exp(scores), -1, True))
    with pytest.raises(UsageError, match="name it with --head"):
        InstrumentedModel(model)
    network = InstrumentedModel(model, head="softmax")
    _, logits = network.forward(pictures)
    np.testing.assert_allclose(network.probabilities(logits), model(pictures, training=False), atol=1e-6)
    sigmoid = InstrumentedModel(keras.Model(inputs, keras.ops.sigmoid(hidden(inputs))), head="sigmoid")
    np.testing.assert_allclose(sigmoid.forward(pictures)[1], hidden(pictures, training=False), atol=1e-2)


def test_opening_a_model_leaves_it_as_it_was(classifier, pictures):
    model = classifier()
    before = [weight.numpy().copy() for weight in model.weights]
    config, nodes = model.to_json(), [len(layer._inbound_nodes) for layer in model.layers]
    InstrumentedModel(model, "second").forward(pictures)
    assert model.to_json() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_dropout_and_batch_norm_run_in_inference_even_if_the_model_was_wired_for_training(pictures):
    x = inputs = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(4, 3, 4)(x)
    x = keras.layers.Dropout(0.9)(x, training=True)
    x = keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x))
    network = InstrumentedModel(keras.Model(inputs, x))
    np.testing.assert_array_equal(network.forward(pictures)[1], network.forward(pictures)[1])


class Subclassed(keras.Model):
    def call(self, x):
        return x


def two_outputs():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(inputs))
    return keras.Model(inputs, [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)])


def two_inputs():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    x = keras.layers.Flatten()(keras.layers.Conv2D(2, 3)(keras.layers.Add()(inputs)))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


def of_vectors():
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])


def without_maps():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])


def segmenter():
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])


def one_unit_softmax():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="softmax"),
        ]
    )


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Subclassed, "a subclassed model hides its layers"),
        (two_outputs, "the model has 2 outputs; an explanation needs one"),
        (two_inputs, "the model has 2 inputs"),
        (of_vectors, "not images"),
        (without_maps, "no layer with spatial extent"),
        (segmenter, "not one score per class"),
        (one_unit_softmax, "which is always 1"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "not built yet"),
        (lambda: "a string", "a Keras model is needed, not str"),
    ],
)
def test_a_model_that_cannot_be_explained_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        InstrumentedModel(make())
    assert "\n" not in str(caught.value)
