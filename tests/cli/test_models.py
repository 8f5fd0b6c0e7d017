"""`defect-monitor models`, as its user runs it: what is refused is one sentence and changes nothing."""

import json
from pathlib import Path

import pytest

from monitor.models.bundle import ModelBundle
from monitor.models.store import CURRENT, HISTORY, ModelStore
from tests.cli.conftest import Command, assert_refused
from tests.support.model_copies import copy_bundle


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _shared_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graphs of the small network, which all bundles here hold, are built once."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(cache))


@pytest.fixture
def bundles(tmp_path: Path, small_bundle: ModelBundle) -> list[Path]:
    return [
        copy_bundle(tmp_path / f"auc-{auc}", small_bundle.path, figures={"auc": auc}) for auc in (0.5, 0.6)
    ]


@pytest.fixture
def store(tmp_path: Path, bundles: list[Path]) -> ModelStore:
    """A store of two models, the first of which is in use."""
    store = ModelStore(tmp_path / "store")
    versions = [store.add(bundle) for bundle in bundles]
    store.promote(versions[0], lambda _: None)
    return store


def contents(store: ModelStore) -> dict[str, bytes]:
    """What a command that is refused must leave as it is."""
    found = {str(path): path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    return found | {CURRENT: str((store.root / CURRENT).readlink()).encode()}


def test_a_model_is_added_promoted_and_rolled_back(
    command: Command, bundles: list[Path], tmp_path: Path
) -> None:
    store = ("--store", tmp_path / "new/store")
    first, second = (command("models", "add", bundle, *store).out.strip() for bundle in bundles)
    assert command("models", "add", bundles[0], *store).out.strip() == first  # stored once
    heading, *lines = command("models", "list", *store).out.splitlines()
    assert heading.split()[:2] == ["version", "model"]
    assert [line[:14] for line in lines] == [f"  {second[:12]}", f"  {first[:12]}"]
    for version in (first, second):
        done = command("models", "promote", version[:12], *store)
        assert done == (0, f"{version} is in use; reload the daemon to apply it\n", "")
    assert command("models", "list", *store).out.splitlines()[1].startswith(f"* {second[:12]}")
    assert command("models", "verify", *store).out == f"{second} is intact\n"
    done = command("models", "rollback", *store)
    assert done == (0, f"{first} is in use again; reload the daemon to apply it\n", "")
    listed = json.loads(command("models", "list", "--json", *store).out)
    assert [(it["version"], it["current"]) for it in listed] == [(second, False), (first, True)]
    assert_refused(command("models", "rollback", *store), 1, "has no model before the present one")


def test_a_bundle_that_is_damaged_or_scores_otherwise_is_not_promoted(
    command: Command, store: ModelStore, bundles: list[Path]
) -> None:
    references = json.loads((bundles[0] / "card.json").read_text())["references"]
    bad = copy_bundle(bundles[0].with_name("bad"), bundles[0], references=[{**references[0], "score": 0.5}])
    other, wrong = store.versions()[0].version, store.add(bad)
    network = next((store.root / other).glob("model-*.keras"))
    network.write_bytes(network.read_bytes()[:-1] + b"x")
    before = contents(store)
    for verb in ("promote", "verify"):
        ended = command("models", verb, other, "--store", store.root)
        assert_refused(ended, 1, "SHA-256 differs): altered or damaged")
        ended = command("models", verb, wrong, "--store", store.root)
        assert_refused(ended, 1, " instead of 0.500")
    network.unlink()
    before.pop(str(network))
    assert_refused(command("models", "promote", other, "--store", store.root), 1, "is incomplete")
    assert contents(store) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("promote nosuch --store {store}", "no model of {store} can be meant by 'nosuch': see `models list`"),
        ("verify nosuch --store {store}", "no model of {store} can be meant by 'nosuch': see `models list`"),
        ("rollback --store {store}", "{store} has no model before the present one"),
        ("add {empty} --store {store}", "no model at {empty}: {empty}/card.json does not exist"),
        ("list --store /no/such", "the model store /no/such cannot be read: No such file or directory"),
        ("promote a --store /no/such", "the model store /no/such cannot be read: No such file or directory"),
        (
            "rollback --store /no/such",
            "the model store /no/such cannot be changed: No such file or directory",
        ),
        ("list --store {file}", "the model store {file} cannot be read: Not a directory"),
        ("verify --store {empty}", "no model of {empty} is in use: promote one"),
    ],
)
def test_what_is_refused_is_one_sentence_and_changes_nothing(
    command: Command, store: ModelStore, tmp_path: Path, *, arguments: str, sentence: str
) -> None:
    names = {"store": store.root, "empty": tmp_path / "empty", "file": tmp_path / "file"}
    names["empty"].mkdir()
    names["file"].touch()
    before = contents(store)
    ended = command("models", *arguments.format(**names).split())
    assert_refused(ended, 1, sentence.format(**names))
    assert contents(store) == before


def test_a_store_that_may_not_be_written_is_one_sentence(
    unprivileged_command: Command, store: ModelStore, bundles: list[Path]
) -> None:
    new = copy_bundle(bundles[0].with_name("third"), bundles[0], figures={"auc": 0.7})
    before = contents(store)
    store.root.chmod(0o555)
    (store.root / HISTORY).chmod(0o444)
    refusal = f"the model store {store.root} cannot be changed: Permission denied"
    for arguments in (("add", new), ("promote", store.versions()[0].version)):
        ended = unprivileged_command("models", *arguments, "--store", store.root)
        assert_refused(ended, 1, refusal)
    assert contents(store) == before
    assert unprivileged_command("models", "list", "--store", store.root).code == 0
