"""Measuring explanations: what the figures mean, what the literal function gives, what memory it takes."""

import math
import subprocess
import sys

import numpy as np
import pytest

from monitor.explain.heatmap import upsample
from monitor.imaging.regions import find_regions
from monitor.learning.evaluate.cam_comparison import area, pointing_game, score_cam_variant
from monitor.learning.evaluate.cam_variants import CamVariant, as_table, cam_variants, name
from monitor.tools.bench.cam_methods import measure, reference_faster_score_cam, run


def test_the_literal_function_and_scoring_seed_are_the_same_heat(explainer, pictures):
    for count in (1, 5, 12):
        theirs = reference_faster_score_cam(explainer.network.model, "last", pictures[:1], count)
        mine = explainer.explain(pictures[:1], max_n=count).heat[0]
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_table_of_times_compares_in_one_run(classifier):
    rows = {row.method: row for row in run(classifier(), "last", "small", max_n=3, repeats=3, peers=False)}
    assert rows["grad-cam"].to_grad_cam == 1
    faster, slow = rows["faster-score-cam N=3"], rows["faster-score-cam N=3, literal"]
    assert faster.to_literal == pytest.approx(faster.milliseconds / slow.milliseconds)
    limit = rows["3 forward passes, one batch"]
    assert faster.to_limit == pytest.approx(faster.milliseconds / limit.milliseconds)
    assert rows["score-cam"].to_limit is not None
    assert rows["grad-cam"].to_limit is None


def test_works_are_measured_in_turns():
    order = []
    times = measure({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert set(times) == {"a", "b"}


def test_the_peak_and_the_share_inside_a_mask_are_counted():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    heat = np.zeros((4, 6), np.float32)
    heat[2, 3], heat[0, 0] = 1.0, 0.25
    assert pointing_game(heat, mask) == (1.0, 0.8)
    heat[0, 0] = 3.0
    assert pointing_game(heat, mask) == (0.0, 0.25)


def test_deletion_of_what_counts_first_has_the_smallest_area_and_a_fixed_value():
    """The score is the sum of eight pixels; two steps take out none, one, then all."""
    picture = np.array([[6, 1, 1, 1], [1, 0, 0, 0]], np.float32)[..., None] / 10
    nothing = np.zeros_like(picture)
    right = picture[..., 0]

    def score(inputs):
        return inputs.sum(axis=(1, 2, 3))

    best = area(score, picture, nothing, right, 2)
    assert best == pytest.approx((1 + 0.4) / 2 / 8 + 0.4 / 2 * 7 / 8)
    assert best < area(score, picture, nothing, right[::-1, ::-1], 2)
    assert area(score, nothing, picture, right, 2) == pytest.approx(1 - best)


def place(heat, rows, columns):
    """The heat at the size of the image, and the one region in it."""
    large = upsample(heat, rows, columns)
    return large, find_regions(large, threshold=0.5, minimum_area=0, tiles=[])


def test_equal_maps_have_equal_weights_and_scoring_them_changes_no_box(explainer, pictures):
    masks = [np.ones((32, 48), bool)]
    one, many = (
        score_cam_variant(
            explainer,
            CamVariant("faster-score-cam", count),
            [pictures[0]],
            masks,
            pictures[2],
            target=1,
            place=place,
            steps=2,
        )
        for count in (1, 12)
    )
    assert one.weight_spread == 0
    assert one.overlap == one.overlap_equal > 0
    assert 0 < many.weight_spread < 1
    gradient = score_cam_variant(
        explainer, CamVariant("grad-cam"), [pictures[0]], masks, pictures[2], target=1, place=place, steps=2
    )
    assert math.isnan(gradient.weight_spread)


def test_a_method_is_judged_and_a_picture_without_heat_is_not_counted_as_found(explainer, pictures):
    masks = [np.ones((32, 48), bool), np.ones((32, 48), bool)]
    broken = np.full_like(pictures[1], np.nan)
    found = score_cam_variant(
        explainer,
        CamVariant("faster-score-cam", 3, "seed", "gradient"),
        [pictures[0], broken],
        masks,
        pictures[2],
        target=1,
        place=place,
        steps=3,
    )
    assert (found.pictures, found.without) == (2, 1)
    assert found.pointing == 0.5
    assert found.heat_inside == pytest.approx(0.5)
    assert 0 <= found.deletion <= 1
    assert 0 <= found.insertion <= 1
    table = as_table([found])
    assert table.rows[0][0] == "faster-score-cam N=3 by gradient, seed"
    assert len(table.rows[0]) == len(table.header)
    nothing = score_cam_variant(
        explainer,
        CamVariant("grad-cam"),
        [broken],
        masks[:1],
        pictures[2],
        target=1,
        place=place,
        steps=3,
    )
    assert nothing.pointing == 0
    assert math.isnan(nothing.deletion)


def test_every_method_is_asked_for_once():
    names = [name(one) for one in cam_variants((1, 10))]
    assert len(set(names)) == len(names) == 17


def test_two_thousand_maps_of_a_large_input_stay_within_two_gigabytes():
    """Unchunked, the masked inputs alone would be 6.4 GB. The peak counts all of the process.

    It is VmHWM: `ru_maxrss` outlives exec, so it would be that of the tests, where that is larger.
    """
    program = """
import re
from pathlib import Path
import tensorflow as tf
from monitor.explain.explainer import Explainer
from monitor.explain.score_cam import score_cam

@tf.function
def heat(x, maps):
    def forward(masked):
        return tf.nn.softmax(tf.reduce_mean(masked, [1, 2])[:, :2])
    chunk = Explainer.chunk_for(x.shape[1:])
    return score_cam(forward, x, maps, tf.zeros(1, tf.int32), max_n=None, chunk=chunk)

found, strength = heat(tf.random.normal((1, 512, 512, 3)), tf.random.uniform((1, 16, 16, 2048)))
assert strength.numpy()[0] > 0
print(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=280, check=True
    )
    assert int(result.stdout) < 2 * 1024**2
