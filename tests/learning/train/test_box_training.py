"""The box head learns extents from features that hold them."""

import numpy as np
import pytest

from monitor.learning.train.box_training import BoxExamples, giou_loss, train_head
from monitor.models.box_head import WINDOWS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def loss(truth: list[float], predicted: list[float]) -> float:
    return float(giou_loss(np.float32([truth]), np.log(np.float32([predicted])))[0])


def test_the_loss_is_one_minus_the_generalised_iou() -> None:
    assert loss([2, 3, 4, 5], [2, 3, 4, 5]) == pytest.approx(0, abs=1e-6)
    # 4x4 within 8x4: IoU 1/2, the hull is the union.
    assert loss([4, 2, 4, 2], [2, 2, 2, 2]) == pytest.approx(0.5)
    # 4x2 across 2x4: IoU 4/12, the hull is 4x4.
    assert loss([2, 1, 2, 1], [1, 2, 1, 2]) == pytest.approx(1 - 4 / 12 + 4 / 16)


def test_a_head_learns_extents_that_features_hold(monkeypatch) -> None:
    monkeypatch.setattr("monitor.learning.train.box_training.STEPS", 400)
    random = np.random.default_rng(1)
    extents = random.uniform(5, 60, (600, 4)).astype(np.float32)
    context = np.tile(np.log(extents) - 3, len(WINDOWS)).astype(np.float32)
    head = train_head(
        (np.eye(4, dtype=np.float32), np.zeros(4, np.float32)),
        BoxExamples(context, extents, np.arange(600)),
        seed=0,
    )
    unseen = random.uniform(10, 50, 4).astype(np.float32)
    # The same in each cell, so each window has the same mean.
    same = np.broadcast_to(np.log(unseen) - 3, (9, 9, 4)).astype(np.float32)
    predicted = head.extents(same, np.ones((9, 9), bool))[4, 4]
    assert loss(unseen.tolist(), predicted.tolist()) < 0.25
