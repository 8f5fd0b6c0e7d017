"""Truth that is not lost: masks as people name and draw them."""

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.errors import DataError, UsageError
from monitor.learning.datasets import FolderLayout, Sample, audit, load_mask, read_samples
from monitor.learning.datasets.sample import read_mask

SHAPE = np.zeros((40, 60), bool)
SHAPE[10:20, 15:40] = True


def photograph(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = seed + sum(path.name.encode() + path.parent.name.encode())
    pixels = np.random.default_rng(digest).integers(60, 190, (40, 60, 3), np.uint8)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_mask(path: Path, pixels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), SHAPE.astype(np.uint8) * 255 if pixels is None else pixels)
    return path


@pytest.mark.parametrize("high", [1, 2, 38, 127, 128, 255])
@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".pgm"])
def test_any_value_but_zero_marks_a_defect(tmp_path: Path, high: int, ending: str):
    path = write_mask(tmp_path / f"m{ending}", SHAPE.astype(np.uint8) * high)
    assert np.array_equal(read_mask(path), SHAPE)


def test_masks_of_sixteen_bits_one_bit_and_several_classes(tmp_path: Path):
    wide = write_mask(tmp_path / "wide.png", SHAPE.astype(np.uint16))
    assert np.array_equal(read_mask(wide), SHAPE)
    several = SHAPE.astype(np.uint8)
    several[10:20, 15:25] = 7
    assert np.array_equal(read_mask(write_mask(tmp_path / "several.png", several)), SHAPE)
    assert cv2.imwrite(str(tmp_path / "bit.png"), SHAPE.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    assert np.array_equal(read_mask(tmp_path / "bit.png"), SHAPE)
    colour = np.zeros((40, 60, 3), np.uint8)
    colour[SHAPE] = 0, 0, 128
    assert np.array_equal(read_mask(write_mask(tmp_path / "colour.png", colour)), SHAPE)


def paletted(path: Path, colours: list[tuple[int, int, int]]) -> Path:
    """Write a PNG of palette indices, which OpenCV cannot."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.tobytes() for row in SHAPE.astype(np.uint8))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", SHAPE.shape[1], SHAPE.shape[0], 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(value for colour in colours for value in colour))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(
    "colours", [[(0, 0, 0), (128, 0, 0)], [(0, 0, 0), (1, 1, 1)], [(240, 240, 240), (3, 0, 0)]]
)
def test_a_palette_is_read_by_its_indices(tmp_path: Path, colours: list[tuple[int, int, int]]):
    assert np.array_equal(read_mask(paletted(tmp_path / "p.png", colours)), SHAPE)


def test_soft_edges_and_coding_noise_are_no_defect(tmp_path: Path):
    soft = cv2.GaussianBlur(SHAPE.astype(np.uint8) * 255, (0, 0), 2)
    found = read_mask(write_mask(tmp_path / "soft.png", soft))
    assert (found != SHAPE).mean() < 0.02
    lossy = write_mask(tmp_path / "lossy.jpg")
    assert (read_mask(lossy) != SHAPE).mean() < 0.02
    empty = write_mask(tmp_path / "empty.jpg", np.random.default_rng(0).integers(0, 4, (40, 60), np.uint8))
    assert not read_mask(empty).any()


def test_a_mask_drawn_as_transparency_is_read(tmp_path: Path):
    clear = np.zeros((40, 60, 4), np.uint8)
    clear[..., 3] = SHAPE * 255
    assert np.array_equal(read_mask(write_mask(tmp_path / "clear.png", clear)), SHAPE)


def test_a_mask_that_cannot_be_read_is_one_sentence(tmp_path: Path):
    (tmp_path / "m.png").write_bytes(b"no image")
    (tmp_path / "e.png").write_bytes(b"")
    for name in ("m.png", "e.png", "none.png"):
        with pytest.raises(DataError, match=f"{name} cannot be used"):
            read_mask(tmp_path / name)


def test_a_defect_with_an_empty_mask_stays_a_defect_at_an_unknown_place(tmp_path: Path):
    for index in range(2):
        photograph(tmp_path / "part/good" / f"{index}.png")
        photograph(tmp_path / "part/scratch" / f"{index}.png")
    photograph(tmp_path / "part/scratch/2.png")
    write_mask(tmp_path / "part/masks/scratch/0.png", np.zeros((40, 60), np.uint8))
    write_mask(tmp_path / "part/masks/scratch/1.png", np.full((40, 60), 255, np.uint8))
    samples = read_samples([tmp_path / "part"])
    empty = next(sample for sample in samples if isinstance(sample.mask, Path) and sample.mask.stem == "0")
    assert load_mask(empty, 40, 60) is None
    report = audit(samples)
    assert report.with_place == 1
    text = "\n".join(report.lines())
    assert "whose place is known: 1 of 3" in text
    assert "1 masks mark nothing: 0.png" in text
    assert "1 masks mark more than half of their image: 1.png" in text
    report.raise_if_unusable()


NAMINGS = [
    ("_mask.png", "0_mask.png"),
    ("_mask.png", "0_Mask.PNG"),
    ("_mask", "0_mask.bmp"),
    ("*_mask.png", "0_mask.png"),
    ("-mask", "0-mask.png"),
    ("_label.bmp", "0_label.BMP"),
    ("_LABEL", "0_label.png"),
    ("png", "0.png"),
    (".png", "0.PNG"),
    (".PNG", "0.png"),
    ("PNG", "0.Png"),
    (".mask.png", "0.mask.png"),
]


@pytest.mark.parametrize(("suffix", "mask"), NAMINGS)
@pytest.mark.parametrize("ending", ["jpg", "JPG", "bmp"])
def test_a_mask_suffix_pairs_masks_in_every_spelling(tmp_path: Path, suffix: str, mask: str, ending: str):
    for index in range(3):
        photograph(tmp_path / "part/good" / f"{index}.{ending}")
        photograph(tmp_path / "part/scratch/deep" / f"{index}.{ending}")
        write_mask(tmp_path / "part/scratch/deep" / mask.replace("0", str(index), 1))
    samples = read_samples([tmp_path / "part"], layout=FolderLayout(mask_suffix=suffix))
    assert sorted((sample.category, sample.path.name) for sample in samples) == sorted(
        (kind, f"{index}.{ending}") for kind in ("good", "scratch") for index in range(3)
    )
    for sample in samples:
        if sample.defective:
            assert isinstance(sample.mask, Path)
            assert sample.mask.name[0] == sample.path.name[0]
            assert np.array_equal(load_mask(sample, 40, 60), SHAPE)


@pytest.mark.parametrize("suffix", ["", "*", "_mask.npy", "masks/", "a/b.png", ".", ".gif2"])
def test_a_suffix_that_is_none_is_refused(suffix: str):
    with pytest.raises(UsageError, match="mask-suffix") as caught:
        FolderLayout(mask_suffix=suffix)
    assert "\n" not in str(caught.value)


def test_masks_without_their_option_are_refused_not_trained_on(tmp_path: Path):
    for kind in ("good", "scratch"):
        photograph(tmp_path / "part" / kind / "0.png")
    write_mask(tmp_path / "part/scratch/0_mask.png")
    with pytest.raises(
        DataError, match=r"look like masks, such as 0_mask\.png: give --mask-suffix _mask\.png"
    ):
        read_samples([tmp_path / "part"])
    (tmp_path / "part/scratch/0_mask.png").rename(tmp_path / "part/scratch/0.bmp")
    with pytest.raises(DataError, match=r"looks like the mask .* give --mask-suffix \.bmp"):
        read_samples([tmp_path / "part"])


def test_a_suffix_that_makes_every_image_a_mask_is_explained(tmp_path: Path):
    for kind in ("good", "scratch"):
        photograph(tmp_path / "part" / kind / "0.png")
    with pytest.raises(DataError, match=r"good holds no images: all 1 end in \.png and count as masks"):
        read_samples([tmp_path / "part"], layout=FolderLayout(mask_suffix=".png"))


def test_masks_without_an_image_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    for kind in ("good", "scratch"):
        photograph(tmp_path / "part" / kind / "0.png")
    write_mask(tmp_path / "part/scratch/7_mask.png")
    read_samples([tmp_path / "part"], layout=FolderLayout(mask_suffix="_mask"))
    assert "1 masks without an image: 7_mask.png" in caplog.text


@pytest.mark.parametrize("suffix", [None, "_mask.png", "_mask"])
def test_the_layout_of_mvtec_is_read(tmp_path: Path, suffix: str | None):
    root = tmp_path / "bottle"
    for index in range(3):
        photograph(root / "train/good" / f"{index:03}.png")
        photograph(root / "test/good" / f"{index:03}.png", 1)
        photograph(root / "test/broken_large" / f"{index:03}.png")
        write_mask(root / "ground_truth/broken_large" / f"{index:03}_mask.png")
    (root / "license.txt").write_text("")
    for roots in ([root], [tmp_path]):
        samples = read_samples(roots, layout=FolderLayout(mask_suffix=suffix), test_share=0.3)
        assert len(samples) == 9
        assert {sample.surface for sample in samples} == {"bottle"}
        assert {sample.category for sample in samples} == {"good", "broken_large"}
        assert {sample.split for sample in samples} == {"Train", "Test"}
        defects = [sample for sample in samples if sample.defective]
        assert len(defects) == 3
        assert all(np.array_equal(load_mask(sample, 40, 60), SHAPE) for sample in defects)


def test_ground_truth_beside_the_kinds_is_no_kind(tmp_path: Path):
    photograph(tmp_path / "part/good/0.png")
    photograph(tmp_path / "part/scratch/000.png")
    write_mask(tmp_path / "part/ground_truth/scratch/000_mask.png")
    samples = read_samples([tmp_path / "part"])
    assert [sample.category for sample in samples] == ["good", "scratch"]
    assert np.array_equal(load_mask(samples[1], 40, 60), SHAPE)


def test_parts_that_both_have_defects_are_the_splits(tmp_path: Path):
    for part in ("train", "test"):
        for kind in ("good", "scratch"):
            photograph(tmp_path / "part" / part / kind / "0.png")
    samples = read_samples([tmp_path / "part"])
    assert sorted((sample.split, sample.category) for sample in samples) == [
        ("Test", "good"),
        ("Test", "scratch"),
        ("Train", "good"),
        ("Train", "scratch"),
    ]


def test_what_is_left_behind_is_ignored_and_the_rest_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    part = tmp_path / "part"
    for kind in ("good", "scratch"):
        for index in range(3):
            photograph(part / kind / f"{index}.png")
    for name in (
        "good/._0.png", "good/.ipynb_checkpoints/0-checkpoint.png", "__MACOSX/good/._0.png", "@eaDir/0.png",
        "scratch/Thumbs.db", "scratch/desktop.ini", ".AppleDouble/0.png",
    ):  # fmt: skip
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_bytes(b"\0\5\x16\7")
    assert len(read_samples([part])) == 6
    assert caplog.text == ""
    (part / "scratch/notes.txt").write_text("")
    (part / "readme.md").write_text("")
    with caplog.at_level(logging.WARNING):
        assert len(read_samples([tmp_path])) == 6
    assert "1 other entries: notes.txt" in caplog.text
    assert "1 files outside a kind: readme.md" in caplog.text


def test_names_that_are_not_utf8_are_shown_escaped(tmp_path: Path):
    part = tmp_path / os.fsdecode(b"gr\xfcn")
    photograph(tmp_path / "x.png")
    for kind in (b"good", b"kr\xe4tzer"):
        folder = part / os.fsdecode(kind)
        folder.mkdir(parents=True)
        (folder / os.fsdecode(b"\xfc.png")).write_bytes((tmp_path / "x.png").read_bytes())
    samples = read_samples([part])
    assert {sample.surface for sample in samples} == {"gr\\xfcn"}
    assert {sample.category for sample in samples} == {"good", "kr\\xe4tzer"}
    report = audit(samples)
    "\n".join(report.lines()).encode("utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 255), st.integers(0, 39), st.integers(0, 59))
def test_a_single_marked_pixel_is_never_lost(tmp_path: Path, level: int, row: int, column: int):
    pixels = np.zeros((40, 60), np.uint8)
    pixels[row, column] = level
    sample = Sample(tmp_path / "i.png", "a", "b", True, None, write_mask(tmp_path / "m.png", pixels))
    mask = load_mask(sample, 40, 60)
    assert mask is not None
    assert np.argwhere(mask).tolist() == [[row, column]]


@pytest.mark.parametrize("ending", ["-mask.png", "_MASK.PNG", "_segmentation.bmp"])
def test_masks_that_another_mask_suffix_misses_are_never_images(tmp_path: Path, ending: str):
    for number in range(3):
        photograph(tmp_path / "good" / f"{number}.jpg")
        photograph(tmp_path / "scratch" / f"{number}.jpg")
        write_mask(tmp_path / "scratch" / f"{number}{ending}")
    with pytest.raises(DataError, match=f"give --mask-suffix {ending[:-4].lower()}"):
        read_samples([tmp_path], layout=FolderLayout(mask_suffix="_gt.png"))
    samples = read_samples([tmp_path], layout=FolderLayout(mask_suffix=ending))
    assert [sample.mask is not None for sample in samples] == [False] * 3 + [True] * 3


@pytest.mark.parametrize("name", ["mask_7.png", "Mask-7.bmp", "label_7.png", "gt_7.png"])
@pytest.mark.parametrize("folder", ["scratch", "scratch/masks", "masks/scratch"])
def test_masks_that_begin_with_the_word_are_paired_without_an_option(tmp_path: Path, name: str, folder: str):
    photograph(tmp_path / "part/good/1.png")
    photograph(tmp_path / "part/scratch/7.jpg")
    photograph(tmp_path / "part/scratch/mask_holder.jpg")
    write_mask(tmp_path / "part" / folder / name)
    samples = [sample for sample in read_samples([tmp_path / "part"]) if sample.defective]
    masks = {sample.path.name: sample.mask for sample in samples}
    assert masks == {"7.jpg": tmp_path / "part" / folder / name, "mask_holder.jpg": None}
