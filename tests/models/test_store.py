"""The store of bundles: which one is in use changes at once or not at all."""

import json
import multiprocessing
import random
import time
from collections.abc import Callable, Sequence
from ctypes import c_int
from pathlib import Path

import pytest

from monitor.errors import ModelError
from monitor.models.bundle import ModelBundle, load_bundle
from monitor.models.registry import resolve_model_path
from monitor.models.store import CURRENT, HISTORY, ModelStore
from tests.support.model_copies import copy_bundle


def passes(_: ModelBundle) -> None:
    """A check that every bundle passes."""


def fails(bundle: ModelBundle) -> None:
    raise ModelError(f"reference image 1 of {bundle.card.name} scores 0.100 instead of 0.900")


@pytest.fixture
def renamed(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the shipped bundle under another name in its card."""

    def make(name: str) -> Path:
        return copy_bundle(tmp_path / name, name=name)

    return make


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


def test_a_model_that_was_added_is_used_once_it_is_promoted(
    store: ModelStore, renamed: Callable[[str], Path]
) -> None:
    first, second = store.add(renamed("first")), store.add(renamed("second"))
    assert store.current() is None
    store.promote(first, passes)
    assert load_bundle(resolve_model_path(str(store.root / CURRENT))).card.name == "first"
    store.promote(second, passes)
    assert load_bundle(resolve_model_path(str(store.root / CURRENT))).card.name == "second"
    assert [(it.version, it.is_current) for it in store.versions()] == [(second, True), (first, False)]


def test_the_same_bundle_is_stored_once(store: ModelStore, renamed: Callable[[str], Path]) -> None:
    bundle = renamed("same")
    assert store.add(bundle) == store.add(bundle)
    assert [it.action for it in store.history()] == ["add"]


def test_rollbacks_go_back_one_promotion_each(store: ModelStore, renamed: Callable[[str], Path]) -> None:
    versions = [store.add(renamed(name)) for name in ("a", "b", "c")]
    for version in versions:
        store.promote(version, passes)
    assert [store.rollback(passes), store.rollback(passes)] == [versions[1], versions[0]]
    with pytest.raises(ModelError, match="no model before the present one"):
        store.rollback(passes)
    store.promote(versions[2], passes)
    assert store.rollback(passes) == versions[0]
    assert store.current() == versions[0]


def test_a_model_that_fails_its_check_changes_nothing(
    store: ModelStore, renamed: Callable[[str], Path]
) -> None:
    good, bad = store.add(renamed("good")), store.add(renamed("bad"))
    store.promote(good, passes)
    history = (store.root / HISTORY).read_bytes()
    with pytest.raises(ModelError, match=r"scores 0\.100 instead of 0\.900"):
        store.promote(bad, fails)
    network = next((store.root / bad).glob("model-*.keras"))
    network.write_bytes(network.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="altered or damaged"):
        store.promote(bad, passes)
    assert store.current() == good
    assert (store.root / HISTORY).read_bytes() == history


def test_a_card_that_was_edited_in_the_store_is_refused(
    store: ModelStore, renamed: Callable[[str], Path]
) -> None:
    version = store.add(renamed("edited"))
    card = store.root / version / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"threshold": 0.99}))
    with pytest.raises(ModelError, match="was altered"):
        store.promote(version, passes)


def test_a_version_is_found_by_its_first_characters_or_by_the_hash_that_events_name(
    store: ModelStore, renamed: Callable[[str], Path]
) -> None:
    version = store.add(renamed("one"))
    network = load_bundle(store.root / version).card.model.sha256
    assert store.find(version[:8]) == store.find(network[:8]) == version
    with pytest.raises(ModelError, match="no model of"):
        store.find("zz")
    store.add(renamed("two"))  # the same network
    with pytest.raises(ModelError, match="2 models of"):
        store.find(network[:8])


def test_a_promotion_that_was_written_down_and_not_made_is_no_step_of_a_rollback(
    store: ModelStore, renamed: Callable[[str], Path]
) -> None:
    first, second, third = (store.add(renamed(name)) for name in ("first", "second", "third"))
    store.promote(first, passes)
    store.promote(second, passes)
    (store.root / CURRENT).unlink()  # as if killed before the second promotion's rename
    (store.root / CURRENT).symlink_to(first)
    with (store.root / HISTORY).open("a") as file:
        file.write('{"at": "2026-')  # and by a cut in the next line
    store.promote(third, passes)
    assert store.rollback(passes) == first


def promote_in_turn(root: Path, versions: Sequence[str], promotions: c_int) -> None:
    store = ModelStore(root)
    while True:
        for version in versions:
            store.promote(version, passes)
            promotions.value += 1


def test_a_promotion_killed_at_20_random_moments_leaves_the_old_model_or_the_new_one(
    store: ModelStore, renamed: Callable[[str], Path]
) -> None:
    versions = [store.add(renamed(name)) for name in ("old", "new")]
    moments = random.Random(3)
    seen = set()
    began = time.monotonic()
    for version in versions:
        store.promote(version, passes)
    one_promotion = (time.monotonic() - began) / 2
    store.rollback(passes)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    for _ in range(20):
        promotions, enough = context.RawValue("i", 0), moments.choice((1, 2))
        process = context.Process(
            target=promote_in_turn, args=(store.root, versions[::-1], promotions), daemon=True
        )
        process.start()
        while promotions.value < enough:
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(moments.uniform(0, one_promotion))
        process.kill()
        process.join()
        current = store.current()
        assert current is not None
        store.verify(current, passes)
        seen.add(current)
        store.promote(versions[0], passes)
        assert store.current() == versions[0]
        store.promote(versions[1], passes)
        assert store.rollback(passes) == versions[0]
    assert seen == set(versions)
    assert not [it for it in store.root.iterdir() if it.name.startswith(".")]
