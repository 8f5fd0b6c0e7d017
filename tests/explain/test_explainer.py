"""Every method through one door: same signature, same promises."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from monitor.errors import UsageError
from monitor.explain import CAMS, METHODS, Explainer, explain
from monitor.explain.gradients import guided_gradients, guided_network, guided_relu
from monitor.explain.heatmap import sobel_edges
from monitor.explain.instrumented import InstrumentedModel
from tests.support import cam_reference as reference


def softmax(values):
    return reference.softmax(values.astype(np.float64))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_heat_in_zero_to_one_with_score_and_class(explainer, pictures, method):
    explained = explainer.explain(pictures, method=method)
    fine = method not in CAMS
    assert explained.heat.shape == ((4, 32, 48) if fine else (4, 8, 12))
    assert explained.heat.dtype == np.float32
    assert explained.heat.min() >= 0
    given = explainer.network.model(pictures, training=False).numpy()
    np.testing.assert_array_equal(explained.target, given.argmax(axis=1))
    np.testing.assert_allclose(explained.score, given.max(axis=1), atol=1e-6)
    for heat, strength, note in zip(explained.heat, explained.strength, explained.notes, strict=True):
        assert heat.max() == (1 if note is None else 0)
        assert (strength > 0) == (note is None)
    assert None in explained.notes


@pytest.mark.parametrize("method", METHODS)
def test_no_image_depends_on_the_others_of_its_batch_not_even_on_a_broken_one(explainer, pictures, method):
    together = explainer.explain(pictures, 1, method)
    alone = explainer.explain(pictures[1:2], 1, method)
    np.testing.assert_allclose(alone.heat[0], together.heat[1], atol=1e-5)
    pictures[0, 5, 5, 1] = np.nan
    beside_nan = explainer.explain(pictures, 1, method)
    np.testing.assert_allclose(beside_nan.heat[1:], together.heat[1:], atol=1e-5)
    assert beside_nan.notes[0] == "nan"
    assert not beside_nan.heat[0].any()


@pytest.mark.parametrize("method", METHODS)
def test_an_image_without_contrast_is_flat_and_said_to_be(pictures, method):
    """Without padding a constant picture gives constant maps."""
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            keras.Input((32, 48, 3)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    pictures[0] = 0.0
    explained = explain(model, pictures, method=method, max_n=6 if "faster" in method else None)
    assert explained.notes[0] == "flat"
    assert not explained.heat[0].any()


@pytest.mark.parametrize(("activation", "scoring"), [("softmax", "seed"), (None, "seed"), (None, "paper")])
@pytest.mark.parametrize("method", ["score-cam", "faster-score-cam"])
def test_score_cam_of_a_keras_model_equals_the_reference(classifier, pictures, activation, scoring, method):
    model = classifier(3, activation)
    maps = keras.Model(model.input, model.get_layer("last").output)(pictures, training=False).numpy()
    max_n = 4 if method == "faster-score-cam" else None
    explained = explain(model, pictures, method=method, max_n=max_n, scoring=scoring)

    def predict(x):
        given = model(x, training=False).numpy()
        return softmax(given) if scoring == "paper" and activation is None else given

    definition = getattr(reference, scoring)
    for i, image in enumerate(pictures):
        expected = definition(predict, image, maps[i], max_n, explained.target[i])
        np.testing.assert_allclose(explained.heat[i], expected, atol=1e-5)


@pytest.mark.parametrize("gradient_of", ["logit", "probability"])
@pytest.mark.parametrize("method", ["grad-cam", "grad-cam++"])
def test_gradient_cams_equal_the_closed_form_of_a_pooled_dense_head(
    classifier, pictures, method, gradient_of
):
    """After average pooling and a dense layer the gradient is known: the class's weights over h·w.

    That of the probability p of class c is p_c (w_c - Σ p_k w_k) over h·w.
    """
    model = classifier()
    maps = keras.Model(model.input, model.get_layer("last").output)(pictures, training=False).numpy()
    kernel = model.get_layer("scores").get_weights()[0]
    probabilities = model(pictures, training=False).numpy()
    explained = Explainer(model).explain(
        pictures, target=[0, 1, 2, 0], method=method, gradient_of=gradient_of
    )
    for i, target in enumerate([0, 1, 2, 0]):
        row = kernel[:, target]
        if gradient_of == "probability":
            row = probabilities[i, target] * (row - kernel @ probabilities[i])
        gradient = np.broadcast_to(row / 96, maps[i].shape)
        if method == "grad-cam":
            weights = gradient.mean(axis=(0, 1))
        else:
            alpha = gradient**2 / (2 * gradient**2 + maps[i].sum(axis=(0, 1)) * gradient**3)
            weights = (alpha * np.maximum(gradient, 0)).sum(axis=(0, 1))
        heat = np.maximum((weights * maps[i]).sum(axis=-1), 0)
        np.testing.assert_allclose(explained.heat[i], heat / heat.max(), atol=1e-5)
        np.testing.assert_allclose(explained.strength[i], heat.max(), rtol=1e-4)


@pytest.mark.parametrize("method", CAMS)
def test_the_same_network_explains_the_same_whatever_its_head_and_nesting(classifier, pictures, method):
    """Softmax inside the dense layer, beside it, or left to the user; and all of it within a model."""
    inner = classifier()
    inputs = keras.Input((32, 48, 3))
    models = [inner, classifier(separate=True), keras.Model(inputs, inner(inputs))]
    if "score" not in method:
        models.append(classifier(3, None))
    heats = [explain(model, pictures, method=method).heat for model in models]
    if "score" in method:
        heats.append(explain(classifier(3, None), pictures, method=method, scoring="paper").heat)
        heats[:-1] = [explain(model, pictures, method=method, scoring="paper").heat for model in models]
    for heat in heats[1:]:
        np.testing.assert_allclose(heat, heats[0], atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", None])
@pytest.mark.parametrize("method", CAMS)
def test_one_unit_explains_both_of_its_classes(classifier, pictures, activation, method):
    model = classifier(1, activation)
    low = explain(model, pictures, 0, method)
    high = explain(model, pictures, 1, method)
    np.testing.assert_allclose(low.score + high.score, 1, atol=1e-6)
    assert np.abs(low.heat - high.heat).max() > 1e-3
    predicted = explain(model, pictures, method=method)
    np.testing.assert_array_equal(predicted.target, (high.score > 0.5).astype(int))


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_four_channel_models_are_explained(classifier, channels):
    pictures = np.random.default_rng(1).normal(0, 40, (2, 32, 48, channels)).astype(np.float32)
    model = classifier(channels=channels)
    for method in ("grad-cam++", "guided-faster-score-cam", "edges-score-cam"):
        assert explain(model, pictures, method=method).notes == (None, None)


def test_any_size_goes_where_the_model_takes_any(pictures):
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(6, 3, 2, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    explainer = Explainer(model)
    for height, width in ((32, 48), (20, 26)):
        explained = explainer.explain(pictures[:, :height, :width], method="score-cam")
        assert explained.heat.shape == (4, height // 2, width // 2)


def test_guided_backpropagation_passes_only_what_is_positive_on_both_sides(classifier, pictures):
    x = tf.constant([-2.0, -1.0, 1.0, 2.0, 7.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        upward = guided_relu(None)(x) * tf.constant([1.0, -1.0, -1.0, 3.0, 1.0])
        cut = guided_relu(6.0)(x) * 2
    np.testing.assert_array_equal(tape.gradient(upward, x), [0, 0, 0, 3, 1])
    np.testing.assert_array_equal(tape.gradient(cut, x), [0, 0, 2, 2, 0])


def test_guided_gradients_equal_the_rule_worked_layer_by_layer(classifier, pictures):
    """Backwards through classifier(): dense, mean, ReLU, norm, convolution, ReLU, convolution, factor."""
    model = classifier()
    layer = model.get_layer
    x = tf.constant(pictures)
    parts = keras.Model(model.input, [layer("first").output, layer("last").output])
    first, last = (part.numpy() for part in parts(x, training=False))
    upstream = np.broadcast_to(layer("scores").get_weights()[0][:, 1] / 96, last.shape)
    upstream = np.where((last > 0) & (upstream > 0), upstream, 0)
    norm = next(one for one in model.layers if isinstance(one, keras.layers.BatchNormalization))
    upstream = upstream / np.sqrt(norm.moving_variance.numpy() + norm.epsilon) * norm.gamma.numpy()
    upstream = tf.nn.conv2d_transpose(
        upstream.astype(np.float32), layer("second").kernel, first.shape, 2, "SAME"
    ).numpy()
    upstream = np.where((first > 0) & (upstream > 0), upstream, 0)
    expected = tf.nn.conv2d_transpose(upstream, layer("first").kernel, x.shape, 2, "SAME") / 40
    guided = guided_network(InstrumentedModel(model))
    given = guided_gradients(guided, x, tf.fill([4], 1))
    np.testing.assert_allclose(given, expected, atol=1e-7)


def test_guided_backpropagation_reaches_relus_in_nested_models_and_those_called_as_functions(pictures):
    keras.utils.set_random_seed(4)
    x = inputs = keras.Input((32, 48, 3))
    x = keras.layers.Conv2D(5, 3, activation="relu", name="inside")(x)
    inner = keras.Model(inputs, keras.ops.relu6(keras.layers.Conv2D(5, 3)(x)))
    outer = keras.Sequential(
        [keras.Input((32, 48, 3)), inner, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    )
    network = InstrumentedModel(outer)
    guided = guided_network(network)
    np.testing.assert_allclose(guided.forward(pictures)[1], network.forward(pictures)[1], atol=1e-5)
    x = tf.constant(pictures)
    ruled = guided_gradients(guided, x, tf.zeros(4, tf.int32)).numpy()
    plain = guided_gradients(network, x, tf.zeros(4, tf.int32)).numpy()
    assert np.abs(ruled - plain).max() > 1e-6
    inside = outer.layers[0].get_layer("inside")
    assert inside.activation is keras.activations.relu


def test_guided_backpropagation_leaves_the_users_model_untouched(classifier, pictures):
    model = classifier()
    config, before = model.to_json(), model(pictures, training=False).numpy()
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    explain(model, pictures, method="guided-backprop")
    assert model.to_json() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    np.testing.assert_array_equal(model(pictures, training=False).numpy(), before)
    x = tf.constant(pictures)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = model(x, training=False)[:, 1]
    assert tape.gradient(score, x).numpy().min() < 0


@pytest.mark.parametrize("cam", CAMS)
def test_products_are_products(explainer, pictures, cam):
    heat = explainer.explain(pictures, 1, cam).heat
    large = tf.image.resize(heat[..., None], (32, 48)).numpy()[..., 0]
    guided = explainer.explain(pictures, 1, "guided-backprop").heat
    for name, fine in (("guided", guided), ("edges", np.stack([sobel_edges(one) for one in pictures]))):
        product = large * fine
        expected = product / product.max(axis=(1, 2), keepdims=True)
        given = explainer.explain(pictures, 1, f"{name}-{cam}").heat
        np.testing.assert_allclose(given, expected, atol=1e-5)


def test_edges_follow_a_step_and_ignore_brightness_and_contrast():
    picture = np.zeros((20, 30, 3), np.float32)
    picture[:, 15:] = 100
    strength = sobel_edges(picture)
    assert strength.shape == (20, 30)
    assert set(np.unique(strength[:, 12:18])) == {1.0}  # two columns of Sobel, dilated by two on each side
    assert not strength[:, :12].any()
    assert not strength[:, 18:].any()
    np.testing.assert_allclose(sobel_edges(picture * 0.02 - 3), strength, atol=1e-6)
    assert not sobel_edges(np.full((20, 30, 3), 7, np.float32)).any()


def test_an_explainer_traces_a_method_once_for_a_shape(classifier, pictures):
    explainer = Explainer(classifier())
    calls = []
    run = explainer.network.forward

    def counting(*args):
        calls.append(args)
        return run(*args)

    explainer.network.forward = counting
    explainer.explain(pictures, method="grad-cam")
    traced = len(calls)
    assert traced > 0
    explainer.explain(pictures[::-1], 2, method="grad-cam")
    assert len(calls) == traced


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"method": "grad-cma"}, "no method 'grad-cma'; there are grad-cam,"),
        ({"method": "edges-guided-backprop"}, "no method"),
        ({"scoring": "wang"}, "no scoring 'wang'; there are seed, paper, article"),
        ({"choice": "size"}, "no choice 'size'; there are deviation, gradient"),
        ({"max_n": 0}, "max_n is 0; of layer 'last' 1 to 12 maps can be scored"),
        ({"max_n": 13}, "max_n is 13"),
        ({"target": 3}, "there is no class 3: the model has 0 to 2"),
        ({"target": -1}, "there is no class -1"),
        ({"target": [0, 1]}, "4 images need one target class each"),
        ({"target": [0, 1, 2, 1.5]}, "there is no class"),
        ({"layer": "lsat"}, "nearest are last"),
        ({"layer": "scores"}, "without rows and columns"),
        ({"chunk": -2}, "chunk is -2"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_sentence(classifier, pictures, arguments, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        explain(classifier(), pictures, **arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "shape", [(32, 48, 3), (1, 32, 48, 1), (1, 32, 48, 4), (1, 31, 48, 3), (0, 32, 48, 3), (1, 3, 32, 48)]
)
def test_images_that_the_model_cannot_take_are_refused(classifier, shape):
    with pytest.raises(UsageError, match="the model takes a batch of images of 32x48x3"):
        explain(classifier(), np.zeros(shape, np.float32))
