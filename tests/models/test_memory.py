"""What a bundle remembers survives the disk, and is chosen evenly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import ModelError
from monitor.models.bundle import ModelBundle, load_bundle, replace_parts
from monitor.models.memory import TrainingMemory, choose_evenly

# Keras hands its variables to NumPy 2 in a way that NumPy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def memory_of(tiles: list[int], *, surface: str = "steel", views: int = 2) -> TrainingMemory:
    """A memory of frames with these numbers of tiles, every third one defective."""
    random = np.random.default_rng(len(tiles))
    frame = np.repeat(np.arange(len(tiles)), tiles)
    defective = np.arange(len(tiles)) % 3 == 0
    return TrainingMemory(
        random.gamma(2, 1, (views, len(frame), 8)).astype(np.float32),
        frame,
        defective[frame].astype(np.int8),
        defective,
        np.array([f"{surface}-{number}" for number in range(len(tiles))]),
        np.array([f"lot-{number // 2}" for number in range(len(tiles))]),
        np.array([surface] * len(tiles)),
        np.where(defective, "scratch", "good"),
        np.arange(len(tiles)) % 5 == 0,
    )


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_it_comes_back_as_it_was_written(tiles: list[int]):
    memory = memory_of(tiles)
    again = TrainingMemory.from_bytes(memory.to_bytes())
    np.testing.assert_allclose(again.features, memory.features, rtol=1e-3)
    for name in ("frame", "label", "defective", "keys", "groups", "surfaces", "categories", "aside"):
        assert np.array_equal(getattr(again, name), getattr(memory, name)), name
    assert np.array_equal(again.starts, np.cumsum([0, *tiles[:-1]]))


@given(
    st.lists(st.integers(1, 3), min_size=1, max_size=9), st.lists(st.integers(1, 3), min_size=1, max_size=9)
)
def test_frames_that_join_and_part_again_are_the_same(first: list[int], second: list[int]):
    one, other = memory_of(first), memory_of(second, surface="brass")
    both = one.joined(other)
    assert both.frame.max() == len(first) + len(second) - 1
    again = both.without(set(one.keys))
    assert np.array_equal(again.features, other.features)
    assert np.array_equal(again.frame, other.frame)
    assert np.array_equal(again.groups, other.groups)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=40), st.integers(1, 40))
def test_frames_are_chosen_evenly_of_each_stratum_whatever_their_order(strata: list[str], count: int):
    keys = [f"{number:03}" for number in range(len(strata))]
    chosen = choose_evenly(keys, strata, count)
    assert chosen.sum() == min(count, len(strata))
    kept = {name: sum(chosen[i] for i, own in enumerate(strata) if own == name) for name in set(strata)}
    for name, number in kept.items():
        assert number == strata.count(name) or number >= max(kept.values()) - 1
    turned = choose_evenly(keys[::-1], strata[::-1], count)
    assert np.array_equal(turned[::-1], chosen)


def test_a_bundle_carries_it_and_a_card_without_it_keeps_its_format(toy_bundle: ModelBundle):
    assert toy_bundle.card.format == 1
    replace_parts(toy_bundle, memory=memory_of([1, 2, 3]))
    again = load_bundle(toy_bundle.path)
    assert again.card.format == 3
    assert again.memory is not None
    assert list(again.memory.keys) == ["steel-0", "steel-1", "steel-2"]


def test_a_damaged_memory_is_refused_in_one_sentence(toy_bundle: ModelBundle):
    content = memory_of([1, 2, 3]).to_bytes()
    with pytest.raises(ModelError, match="memory of its training cannot be read"):
        TrainingMemory.from_bytes(content[:200])
    broken = memory_of([1, 2, 3])
    broken.frame[-1] = 7
    with pytest.raises(ModelError, match="do not fit together"):
        TrainingMemory.from_bytes(broken.to_bytes())
