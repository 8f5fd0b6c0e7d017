"""A local model adds the extents of its box head to the heat, and nothing to the verdict."""

from dataclasses import replace

import numpy as np
import pytest

from monitor.inference.candidates import InferenceOptions
from monitor.inference.local import LocalModel
from monitor.models.box_head import WINDOWS, BoxHead
from monitor.models.bundle import ModelBundle

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_a_box_head_adds_extents_and_changes_nothing_else(toy_bundle: ModelBundle) -> None:
    random = np.random.default_rng(0)
    shapes = [(512, 8), (8,), (8 * len(WINDOWS), 5), (5,), (5, 4), (4,)]
    head = BoxHead(*(random.normal(0, 0.1, shape).astype(np.float32) for shape in shapes))
    options = InferenceOptions(device="cpu", runtime="tensorflow", precision="fp32", batch=1)
    bundle = replace(toy_bundle, familiarity=None)
    plain = LocalModel(bundle, options)
    plain.load()
    fitted = LocalModel(replace(bundle, box_head=head), options)
    fitted.share_network(plain)
    images = random.integers(0, 256, (1, 32, 32, 3), np.uint8)
    score = plain.classify(images).scores[0]
    assert fitted.classify(images).scores[0] == score
    without, given = plain.explain(images[0], None), fitted.explain(images[0], None)
    assert without.extents is None
    assert given.extents is not None
    assert given.extents.shape == (4, 4, 4)
    np.testing.assert_array_equal(given.heatmap, without.heatmap)
    # Evidence from the classification gives the same boxes as computing it again.
    activations = plain._loaded.activations(images[0])
    again = fitted.explain(images[0], activations)
    np.testing.assert_allclose(again.extents, given.extents, rtol=1e-5)
