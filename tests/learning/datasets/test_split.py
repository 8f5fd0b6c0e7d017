""""""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from monitor.learning.datasets.sample import Sample
from monitor.learning.datasets.split import random_split, stratified_split


def kinds(good: int, pits: int, root: str = "/data") -> list[Sample]:
    return [Sample(Path(root) / f"good/{i}.png", "part", "good", False) for i in range(good)] + [
        Sample(Path(root) / f"pit/{i}.png", "part", "pit", True) for i in range(pits)
    ]


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.99), st.integers(0, 9))
def test_each_kind_is_divided_in_its_share_and_no_sample_is_lost(good, pits, share, seed):
    samples = kinds(good, pits)
    kept, aside = stratified_split(samples, share, seed)
    assert set(kept) | set(aside) == set(samples)
    assert len(kept) + len(aside) == len(samples)
    for kind, count in (("good", good), ("pit", pits)):
        chosen = sum(sample.category == kind for sample in aside)
        assert abs(chosen - share * count) <= 1
        assert count < 2 or 0 < chosen < count


@given(st.permutations(kinds(12, 6)))
def test_the_order_and_the_place_of_files_do_not_matter(samples):
    _, aside = stratified_split(samples, 0.3, 5)
    _, moved = stratified_split(kinds(12, 6, "/elsewhere"), 0.3, 5)
    assert {(s.category, s.path.name) for s in aside} == {(s.category, s.path.name) for s in moved}


def test_another_seed_sets_others_aside():
    assert stratified_split(kinds(50, 20), 0.2, 1) != stratified_split(kinds(50, 20), 0.2, 2)


@given(st.integers(2, 80), st.integers(0, 20))
def test_the_plain_split_takes_its_share_of_all(good, pits):
    kept, aside = random_split(kinds(good, pits), 0.2, 111)
    assert len(aside) == round(0.2 * (good + pits))
    assert set(kept) | set(aside) == set(kinds(good, pits))
    assert not set(kept) & set(aside)
