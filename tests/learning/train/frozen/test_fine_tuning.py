"""A bundle learns another surface and keeps what it knew."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from monitor.errors import DataError, UsageError
from monitor.learning.datasets import Sample, load_image, load_mask, read_samples
from monitor.learning.train.config import TrainingConfig
from monitor.learning.train.frozen.defect_views import view_defects
from monitor.learning.train.recipe import FROZEN
from monitor.learning.train.trainer import train
from monitor.models.box_head import WINDOWS, BoxHead
from monitor.models.bundle import ModelBundle, load_bundle, save_bundle
from monitor.models.kinds import KindClassifier
from monitor.records import Box
from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONFIG = TrainingConfig(name="toy", out=Path(), recipe=FROZEN, init="none", size=(32, 32))


def parts(root: Path) -> tuple[list[Sample], list[Sample]]:
    return read_samples([root], split="Train"), read_samples([root], split="Test")


@pytest.fixture(scope="module")
def old(surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    known, test = parts(surfaces)
    return train(known, replace(CONFIG, out=tmp_path_factory.mktemp("old")), test=test)


@pytest.fixture(scope="module")
def brass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second surface."""
    root = tmp_path_factory.mktemp("brass")
    line = SurfaceGenerator(seed=9, width=96, height=96, defect_rate=0.5, textures=2)
    write_dataset(line, root, "Brass", train=14, test=6)
    return root


def tuned(start: ModelBundle, known: list[Sample], test: list[Sample], out: Path) -> ModelBundle:
    return train(known, replace(CONFIG, out=out, init=str(start.path), fine_tuned=True), test=test)


@pytest.fixture(scope="module")
def new(old: ModelBundle, brass: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return tuned(old, *parts(brass), tmp_path_factory.mktemp("new"))


def test_the_network_stays_but_for_its_last_layer(old: ModelBundle, new: ModelBundle):
    before, after = old.keras_model().get_weights(), new.keras_model().get_weights()
    assert all(np.array_equal(one, other) for one, other in zip(before[:-2], after[:-2], strict=True))
    assert not np.array_equal(before[-2], after[-2])


def test_the_card_reports_old_and_new_and_what_was_set_aside(old: ModelBundle, new: ModelBundle):
    figures = new.card.figures
    assert figures["validation_Simulated_pictures"] == 30
    assert figures["validation_Brass_pictures"] == 14
    assert figures["test_Simulated_pictures"] == 8
    assert figures["test_Brass_pictures"] == 6
    assert figures["validation_pictures"] == 44
    assert set(new.card.training.trained) > set(old.card.training.trained)
    assert any(line.startswith("Simulated/") for line in new.card.training.data)


def test_what_it_remembers_trains_as_the_images_would(
    old: ModelBundle, new: ModelBundle, surfaces: Path, brass: Path, tmp_path: Path
):
    forgetful = save_bundle(tmp_path / "start", old.keras_model(), old.card, old.familiarity)
    # Of remembered defects the background is not known: neither must it be of those given again.
    known, test = ([replace(sample, mask=None) for sample in part] for part in parts(surfaces))
    more, more_test = parts(brass)
    given = tuned(forgetful, known + more, test + more_test, tmp_path / "given")
    assert given.card.figures["validation_auc"] == pytest.approx(new.card.figures["validation_auc"], abs=0.02)
    assert given.card.threshold == pytest.approx(new.card.threshold, abs=0.02)
    assert given.familiarity is not None
    assert new.familiarity is not None
    np.testing.assert_allclose(given.familiarity.mean, new.familiarity.mean, atol=1e-3)
    assert given.memory is not None
    assert new.memory is not None
    assert sorted(given.memory.keys) == sorted(new.memory.keys)


def test_a_model_that_would_forget_is_refused(old: ModelBundle, brass: Path, tmp_path: Path):
    forgetful = save_bundle(tmp_path / "start", old.keras_model(), old.card, old.familiarity)
    with pytest.raises(UsageError, match=r"would forget Simulated: .* another --data"):
        tuned(forgetful, *parts(brass), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_holdout_that_the_start_was_trained_on_is_refused(old: ModelBundle, surfaces: Path, tmp_path: Path):
    known, test = parts(surfaces)
    with pytest.raises(DataError, match=r"the holdout leaks: .* was trained on 4 of its images"):
        tuned(old, known[:20], known[20:24], tmp_path / "out")
    with pytest.raises(DataError, match=r"the holdout leaks: .* had set aside 8 of these"):
        tuned(old, test, [], tmp_path / "out")


def test_the_box_head_stays_and_kinds_are_learnt_again_where_the_start_had_them(
    old: ModelBundle, brass: Path, tmp_path: Path
):
    inner = 2 * len(WINDOWS)
    shapes = ((512, 2), (2,), (inner, 3), (3,), (3, 4), (4,))
    head = BoxHead(*(np.full(shape, 0.5, np.float32) for shape in shapes))
    kinds = KindClassifier(("defect",), np.ones((1, 512), np.float32), np.eye(512, dtype=np.float32))
    start = save_bundle(
        tmp_path / "start",
        old.keras_model(),
        old.card,
        old.familiarity,
        kinds=kinds,
        box_head=head,
        memory=old.memory,
    )
    after = load_bundle(tuned(start, *parts(brass), tmp_path / "out").path)
    assert after.box_head is not None
    assert after.box_head.to_bytes() == head.to_bytes()
    assert after.kinds is not None
    assert after.kinds.names == ("defect",)
    assert not np.array_equal(after.kinds.means, kinds.means)


def test_a_defect_whose_place_is_known_is_seen_from_all_sides(
    old: ModelBundle, surfaces: Path, tmp_path: Path
):
    known, _ = parts(surfaces)
    model, views = old.keras_model(), view_defects(old.keras_model(), old.card, known)
    seen, counts = np.unique(views.tile, return_counts=True)
    assert len(seen) > 5
    assert all(known[index].defective for index in seen)
    assert set(counts) == {8}
    first = known[seen[0]]
    mask = load_mask(first, 96, 96)
    assert mask is not None
    assert cv2.imwrite(str(tmp_path / "turned.png"), np.rot90(load_image(first)))
    assert cv2.imwrite(str(tmp_path / "mask.png"), 255 * np.rot90(mask).astype(np.uint8))
    turned = replace(first, path=tmp_path / "turned.png", mask=tmp_path / "mask.png")
    again = view_defects(model, old.card, [turned])  # the same views in another order
    np.testing.assert_allclose(views.marked[:8].mean(axis=0), again.marked.mean(axis=0), rtol=1e-3, atol=1e-4)
    wide = replace(first, box=Box(0, 0, 96, 90))
    assert len(view_defects(model, old.card, [wide]).tile) == 4
    hidden = [replace(sample, mask=None) for sample in known]
    assert view_defects(model, old.card, hidden).marked.shape == (0, views.marked.shape[1])
