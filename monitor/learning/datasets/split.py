"""Setting samples aside, each kind in its share."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from monitor.learning.datasets.sample import Sample


def stratified_split(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Divide `samples` into (kept, set aside), `share` (0..1) of each kind of each surface set aside.

    At least one of a kind with two or more is set aside, and one is kept. Depends on file names and `seed`
    alone, not on the order or the place of the data; both parts keep the order of `samples`.
    """
    groups: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.surface, sample.category].append(sample)
    aside: set[Sample] = set()
    random = np.random.default_rng(seed)
    for key in sorted(groups):
        group = sorted(groups[key], key=lambda sample: (sample.path.name, sample.path))
        count = min(max(round(share * len(group)), 1), len(group) - 1)
        aside.update(group[index] for index in random.permutation(len(group))[:count])
    return [sample for sample in samples if sample not in aside], [
        sample for sample in samples if sample in aside
    ]


def random_split(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Divide `samples` into (kept, set aside) at random, blind to their kinds, `share` of all set aside.

    The article's split. Its random numbers are NumPy's default generator, not scikit-learn's, so that the
    same `seed` sets other pictures aside than `train_test_split` does.
    """
    order = sorted(samples, key=lambda sample: (sample.surface, sample.path.name, sample.path))
    chosen = np.random.default_rng(seed).permutation(len(order))[: round(share * len(order))]
    aside = {order[index] for index in chosen}
    return [sample for sample in samples if sample not in aside], [
        sample for sample in samples if sample in aside
    ]
