"""How well the last layer alone learns from few defects, measured on labelled images.

    python -m monitor.learning.train.frozen.few_defects DATA WEIGHTS [--tiles ROWS COLUMNS] [--overlap F]
        [--good NAME] [--mask-suffix SUFFIX] [--most-good N]

prints a row for each number of defects: the mean and standard deviation, over five draws, of the AUC and of
the recall at 1 % false alarms. A third of the images, drawn again each time, is set aside to measure on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.learning.datasets import FolderLayout, read_samples
from monitor.learning.datasets.fingerprint import group_keys, position
from monitor.learning.datasets.tiling import Tiling, read_truth
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.learning.train.architecture import initial_model
from monitor.learning.train.frozen.last_layer import fit_last_layer
from monitor.learning.train.learner import Predictor
from monitor.learning.train.recipe import FROZEN
from monitor.learning.train.results import initial_card
from monitor.learning.train.sampling import TrainingTiles
from monitor.learning.train.scoring import FrameScorer

COUNTS, DRAWS, ASIDE, FALSE_ALARMS = (5, 10, 20, 50, 100), 5, 1 / 3, 0.01


def measure(
    features: NDArray[np.float32], defective: NDArray[np.bool_], keys: Sequence[str], count: int
) -> NDArray[np.float64]:
    """Return (draws, 2): AUC and recall at 1 % false alarms after training on `count` defects.

    `features` (n, c), labels `defective` (n,); images of one key in `keys` (n,) stay on one side.
    """
    rows = []
    for draw in range(DRAWS):
        places = np.array([position(key, f"few/{draw}") for key in keys])
        aside = places < ASIDE
        defects = np.flatnonzero(~aside & defective)
        chosen = defects[np.argsort(places[defects], kind="stable")[:count]]
        used = np.r_[chosen, np.flatnonzero(~aside & ~defective)]
        scores = fit_last_layer(features[used], defective[used]).scores(features[aside]).astype(float)
        labels = defective[aside]
        limit = np.quantile(scores[~labels], 1 - FALSE_ALARMS, method="higher")
        rows.append((area_under_roc(scores, labels), float((scores[labels] > limit).mean())))
    return np.array(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--tiles", type=int, nargs=2, default=(1, 1))
    parser.add_argument("--overlap", type=float, default=0.0)
    parser.add_argument("--good", default="good")
    parser.add_argument("--mask-suffix")
    parser.add_argument("--most-good", type=int)
    given = parser.parse_args()
    tiling = Tiling(None, tuple(given.tiles), given.overlap)
    layout = FolderLayout(given.good, mask_suffix=given.mask_suffix)
    samples = read_samples([given.data], layout=layout)
    good = [sample for sample in samples if not sample.defective]
    order = np.random.default_rng(0).permutation(len(good))[: given.most_good]
    samples = [sample for sample in samples if sample.defective] + [good[index] for index in order]
    truths = [read_truth(sample) for sample in samples]
    keys_of = dict(
        zip(
            [truth.sample.path for truth in truths],
            group_keys(samples, [one.content for one in truths], None, [one.thumbnail for one in truths]),
            strict=True,
        )
    )
    kinds = {truth.sample.path: truth.sample.defective for truth in truths}
    drawn = {
        tile.path: tile
        for tile in reversed(TrainingTiles(truths, tiling, 0).draw(0))
        if tile.defective == kinds[tile.path]
    }
    tiles = list(drawn.values())
    size = (224, 224)
    card = initial_card(tiles, name="few", recipe=FROZEN, init=given.weights, size=size, command="")
    scorer = FrameScorer(Predictor(initial_model(given.weights, size), card), size, FROZEN.batch, 0)
    features, defective = scorer.features(tiles), np.array([tile.defective for tile in tiles])
    keys = [keys_of[tile.path] for tile in tiles]
    rows = ["| defects | AUC | recall at 1 % false alarms |", "| ---: | ---: | ---: |"]
    for count in COUNTS:
        (auc, recall), (auc_spread, recall_spread) = (
            function(measure(features, defective, keys, count), axis=0) for function in (np.mean, np.std)
        )
        rows.append(f"| {count} | {auc:.3f} ± {auc_spread:.3f} | {recall:.3f} ± {recall_spread:.3f} |")
    sys.stdout.write("\n".join([*rows, ""]))


if __name__ == "__main__":
    main()
