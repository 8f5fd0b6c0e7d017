"""Setting samples aside by what they show, so that more data never move a sample to the other side."""

from collections import defaultdict
from collections.abc import Sequence

from monitor.learning.datasets.fingerprint import position
from monitor.learning.datasets.sample import Sample


def stratified_split(
    samples: Sequence[Sample], share: float, seed: int | str, keys: Sequence[str]
) -> tuple[list[Sample], list[Sample]]:
    """Divide `samples` into (kept, set aside): about `share` (0..1) of each kind of each surface set aside.

    A sample's side depends on `seed` and on its key in `keys` alone: the hash of its pixels, or of the part
    or lot that it belongs to. Samples with one key stay together. At least one key of a kind with two or more
    is set aside, and one is kept. Both parts keep the order of `samples`.
    """
    strata: dict[tuple[str, str], set[str]] = defaultdict(set)
    for sample, key in zip(samples, keys, strict=True):
        strata[sample.surface, sample.category].add(key)
    aside = {key for key in keys if position(key, seed) < share}
    for stratum in sorted(strata):
        ordered = sorted(strata[stratum], key=lambda key: (position(key, seed), key))
        if len(ordered) > 1 and not aside & strata[stratum]:
            aside.add(ordered[0])
        elif strata[stratum] <= aside:
            aside.discard(ordered[-1])
    return _divide(samples, keys, aside)


def random_split(
    samples: Sequence[Sample], share: float, seed: int | str, keys: Sequence[str]
) -> tuple[list[Sample], list[Sample]]:
    """Divide `samples` into (kept, set aside) blind to their kinds, as the article does; about `share` aside.

    Keys as in `stratified_split`. The same `seed` sets other images aside than scikit-learn's
    `train_test_split`.
    """
    return _divide(samples, keys, {key for key in keys if position(key, seed) < share})


def _divide(
    samples: Sequence[Sample], keys: Sequence[str], aside: set[str]
) -> tuple[list[Sample], list[Sample]]:
    chosen = [key in aside for key in keys]
    return (
        [sample for sample, is_aside in zip(samples, chosen, strict=True) if not is_aside],
        [sample for sample, is_aside in zip(samples, chosen, strict=True) if is_aside],
    )
