"""Bundles: what is written is read, and what is damaged or foreign is refused."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from monitor.errors import ModelError
from monitor.models.box_head import WINDOWS, BoxHead
from monitor.models.bundle import ModelBundle, ReferenceImage, load_bundle, replace_parts, save_bundle
from monitor.models.card import CARD_NAME, read_card
from monitor.models.preprocessing import preprocess
from monitor.models.registry import resolve_model_path

# Keras hands its variables to NumPy 2 in a way that NumPy has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def refused(message: str, path: Path) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_bundle(path)
    assert "\n" not in str(caught.value)


def network_refused(message: str, path: Path) -> None:
    bundle = load_bundle(path)
    with pytest.raises(ModelError, match=message) as caught:
        bundle.keras_model()
    assert "\n" not in str(caught.value)


def edit(bundle: ModelBundle, **changes: object) -> None:
    path = bundle.path / CARD_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_model(bundle: ModelBundle, content: bytes) -> None:
    """Other content in the model file, with the hash that the card then needs."""
    (bundle.path / bundle.card.model.file).write_bytes(content)
    model = {"file": bundle.card.model.file, "sha256": hashlib.sha256(content).hexdigest()}
    edit(bundle, model=model)


def test_a_bundle_comes_back_as_it_was_written(toy_bundle: ModelBundle, network, familiarity):
    again = load_bundle(toy_bundle.path)
    assert again.card == toy_bundle.card
    assert again.familiarity is not None
    assert np.array_equal(again.familiarity.whitening, familiarity.whitening)
    assert again.familiarity.limit == familiarity.limit
    pictures = np.random.default_rng(0).normal(0, 50, (3, 32, 32, 3)).astype(np.float32)
    expected, seen = network(pictures), again.keras_model()(pictures)
    assert np.allclose(expected, seen, atol=1e-6)


def test_saving_again_replaces_the_bundle_and_leaves_nothing_behind(
    toy_bundle: ModelBundle, network, make_card
):
    save_bundle(toy_bundle.path, network, make_card(name="second"), None)
    again = load_bundle(toy_bundle.path)
    assert again.card.name == "second"
    assert again.familiarity is None
    assert {path.name for path in toy_bundle.path.iterdir()} == {CARD_NAME, again.card.model.file}


def test_references_come_back_to_the_pixel_and_leave_the_network_as_it_is(toy_bundle: ModelBundle):
    random = np.random.default_rng(3)
    colour = random.integers(0, 256, (32, 32, 3), np.uint8)
    grey = np.repeat(random.integers(0, 256, (32, 32, 1), np.uint8), 3, axis=2)
    replace_parts(toy_bundle, references=[ReferenceImage(colour, 0.25), ReferenceImage(grey, 0.75)])
    again = load_bundle(toy_bundle.path)
    assert [reference.score for reference in again.references] == [0.25, 0.75]
    assert (again.references[0].picture == colour).all()
    assert (again.references[1].picture == grey).all()
    assert again.card.model == toy_bundle.card.model
    replace_parts(again, references=[])
    assert not list(toy_bundle.path.glob("*.png"))
    assert load_bundle(toy_bundle.path).references == ()


def test_a_box_head_comes_back_and_makes_the_card_format_2(toy_bundle: ModelBundle, network, make_card):
    assert toy_bundle.card.format == 1
    random = np.random.default_rng(0)
    shapes = [(4, 3), (3,), (3 * len(WINDOWS), 5), (5,), (5, 4), (4,)]
    head = BoxHead(*(random.normal(size=shape).astype(np.float32) for shape in shapes))
    replace_parts(toy_bundle, box_head=head)
    again = load_bundle(toy_bundle.path)
    assert again.card.format == 2
    assert again.card.model == toy_bundle.card.model
    assert again.box_head is not None
    assert (again.box_head.hidden == head.hidden).all()
    next(toy_bundle.path.glob("boxes-*.npz")).write_bytes(b"other")
    refused("SHA-256 differs", toy_bundle.path)
    save_bundle(toy_bundle.path, network, make_card(name="second"), None)
    assert load_bundle(toy_bundle.path).box_head is None
    assert not list(toy_bundle.path.glob("boxes-*"))


def test_a_reference_that_is_altered_or_of_another_size_is_refused(toy_bundle: ModelBundle):
    replace_parts(toy_bundle, references=[ReferenceImage(np.zeros((16, 32, 3), np.uint8), 0.5)])
    refused("not an image of the network's size", toy_bundle.path)
    next(toy_bundle.path.glob("reference-*.png")).write_bytes(b"other")
    refused("SHA-256 differs", toy_bundle.path)


def test_a_missing_bundle_card_or_file_is_said(toy_bundle: ModelBundle, tmp_path: Path):
    refused("no model at .*nowhere", tmp_path / "nowhere")
    (toy_bundle.path / toy_bundle.card.model.file).unlink()
    refused("incomplete: .*keras does not exist", toy_bundle.path)


@pytest.mark.parametrize("which", ["model", "familiarity"])
def test_an_altered_file_is_refused(toy_bundle: ModelBundle, which: str):
    path = toy_bundle.path / getattr(toy_bundle.card, which).file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    refused(r"SHA-256 differs", toy_bundle.path)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 broken"])
def test_a_model_file_that_is_none_is_refused(toy_bundle: ModelBundle, content: bytes):
    replace_model(toy_bundle, content)
    network_refused("not a Keras model file", toy_bundle.path)


def test_a_truncated_model_file_is_refused(toy_bundle: ModelBundle):
    content = (toy_bundle.path / toy_bundle.card.model.file).read_bytes()
    replace_model(toy_bundle, content[: len(content) // 2])
    network_refused("not a Keras model file", toy_bundle.path)


def test_a_model_file_without_its_weights_is_refused(toy_bundle: ModelBundle, tmp_path: Path):
    source = toy_bundle.path / toy_bundle.card.model.file
    bare = tmp_path / "bare.keras"
    with ZipFile(source) as whole, ZipFile(bare, "w") as part:
        for name in ("config.json", "metadata.json"):
            part.writestr(name, whole.read(name))
    replace_model(toy_bundle, bare.read_bytes())
    network_refused("cannot be loaded", toy_bundle.path)


def test_a_network_with_code_inside_is_refused_before_it_is_built(toy_bundle: ModelBundle, tmp_path: Path):
    import keras

    trace = str(tmp_path / "ran")
    inputs = keras.Input((32, 32, 3))
    code = keras.layers.Lambda(lambda x: (__import__("os").makedirs(trace, exist_ok=True), x)[1])(inputs)
    pooled = keras.layers.GlobalAveragePooling2D(name="act_last")(code)
    keras.Model(inputs, keras.layers.Dense(2)(pooled)).save(tmp_path / "code.keras")
    (tmp_path / "ran").rmdir()
    replace_model(toy_bundle, (tmp_path / "code.keras").read_bytes())
    network_refused("would run code of its own", toy_bundle.path)
    assert not (tmp_path / "ran").exists()


def test_a_network_of_classes_from_elsewhere_is_refused(toy_bundle: ModelBundle, tmp_path: Path):
    source = toy_bundle.path / toy_bundle.card.model.file
    other = tmp_path / "other.keras"
    with ZipFile(source) as whole, ZipFile(other, "w") as part:
        for name in whole.namelist():
            content = whole.read(name)
            if name == "config.json":
                content = content.replace(b'"module": "keras.layers"', b'"module": "os"', 1)
                assert content != whole.read(name)
            part.writestr(name, content)
    replace_model(toy_bundle, other.read_bytes())
    network_refused(r"would run code of its own \(os\.", toy_bundle.path)


def test_a_network_that_does_not_fit_its_card_is_refused(toy_bundle: ModelBundle):
    edit(toy_bundle, input_height=64)
    network_refused("does not fit its card", toy_bundle.path)
    edit(toy_bundle, input_height=32, cam_layer="act_first")
    network_refused("has no layer act_first", toy_bundle.path)


def test_a_bundle_of_a_newer_version_asks_for_a_newer_program(toy_bundle: ModelBundle):
    edit(toy_bundle, format=5, novelty=True)
    refused("is of format 5, .* install a newer defect-monitor", toy_bundle.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"defect_class": 2}, "defect_class"),
        ({"model": {"file": "../../etc/passwd", "sha256": "0" * 64}}, "model.file"),
        ({"colour": "blue"}, "colour"),
        ({"format": "1"}, "format"),
    ],
)
def test_a_card_with_a_mistake_says_where(toy_bundle: ModelBundle, changes: dict[str, object], message: str):
    edit(toy_bundle, **changes)
    refused(message, toy_bundle.path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_card_that_is_no_card_is_refused(toy_bundle: ModelBundle, content: bytes):
    (toy_bundle.path / CARD_NAME).write_bytes(content)
    refused("card", toy_bundle.path)


@pytest.mark.parametrize("failing", range(4))
def test_a_full_disk_at_any_write_leaves_the_old_bundle_whole(
    toy_bundle: ModelBundle, make_card, monkeypatch: pytest.MonkeyPatch, failing: int
):
    """The disk is full from the n-th time on that a file is written through or moved."""
    calls = 0

    def full(original):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls > failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments, **options)

        return call

    before = load_bundle(toy_bundle.path)
    network = before.keras_model()
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full(os.fsync))
        patched.setattr(Path, "replace", full(Path.replace))
        with pytest.raises(ModelError, match=r"cannot be written to .*: No space left on device"):
            save_bundle(toy_bundle.path, network, make_card(name="second", threshold=0.25), None)
    after = load_bundle(toy_bundle.path)
    assert after.card == before.card
    assert after.keras_model().count_params() == network.count_params()


def test_a_really_full_disk_leaves_the_old_bundle_whole(
    toy_bundle: ModelBundle, network, make_card, tmp_path: Path
):
    import resource

    before = {path.name: path.read_bytes() for path in toy_bundle.path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(ModelError, match="cannot be written"):
            save_bundle(toy_bundle.path, network, make_card(name="second"), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in toy_bundle.path.iterdir()} == before


def test_a_path_that_is_a_file_is_one_sentence(toy_bundle: ModelBundle, network, make_card, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"cannot be written to .*file"):
        save_bundle(tmp_path / "file", network, make_card(), None)


def test_what_a_cut_short_write_left_is_removed_by_the_next(toy_bundle: ModelBundle, network):
    shutil.copy(toy_bundle.path / toy_bundle.card.model.file, toy_bundle.path / "model-0123456789ab.keras")
    (toy_bundle.path / ".model-00.keras").touch()
    save_bundle(toy_bundle.path, network, toy_bundle.card, None)
    assert {path.name for path in toy_bundle.path.iterdir()} == {
        CARD_NAME,
        read_card(toy_bundle.path).model.file,
    }


@pytest.mark.parametrize("name", ["dagm-class1", "dagm-class8"])
def test_a_shipped_bundle_loads_and_is_small_and_its_card_names_no_place_of_this_machine(name: str):
    folder = resolve_model_path(name)
    bundle = load_bundle(folder)
    model = bundle.keras_model()
    assert model.output_shape == (None, 2)
    assert bundle.familiarity is not None
    pictures = np.stack([reference.picture for reference in bundle.references])
    scores = model.predict(preprocess(bundle.card, pictures), verbose=0)[:, bundle.card.defect_class]
    np.testing.assert_allclose(scores, [reference.score for reference in bundle.references], atol=1e-3)
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 10_000_000
    training = bundle.card.training
    assert not any(word.startswith("/") for word in (*training.command.split(), training.init))
