"""Simulated pictures: repeatable, defective where the truth says so and nowhere else, alike the real ones."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.records import Image
from monitor.simulate.surface import SurfaceGenerator
from tests.support import ROOT

COUNT = 60


def fine_texture(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Strength of the fine texture around each pixel, in grey values: a defect is where it is low."""
    values = grey.astype(np.float32)
    fine = values - cv2.GaussianBlur(values, (0, 0), 3)
    return np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6))


def digest(picture: Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()


def test_a_picture_depends_on_settings_and_number_alone_in_another_process_too() -> None:
    settings = "seed=9, width=160, height=128, defect_rate=0.5, textures=3"
    line = SurfaceGenerator(seed=9, width=160, height=128, defect_rate=0.5, textures=3)
    program = (
        "import hashlib; from monitor.simulate.surface import SurfaceGenerator\n"
        f"line = SurfaceGenerator({settings})\n"
        "for n in (7, 0, 3): print(hashlib.sha256(line.picture(n).tobytes()).hexdigest(), line.defect_at(n))"
    )
    root = ROOT
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    ).stdout
    here = {number: f"{digest(line.picture(number))} {line.defect_at(number)}" for number in (0, 3, 7)}
    assert output.splitlines() == [here[7], here[0], here[3]]


def test_pictures_are_three_equal_channels_of_the_size_asked_for() -> None:
    for number in range(6):
        picture = SurfaceGenerator(seed=1, width=130, height=99, textures=2).picture(number)
        assert picture.shape == (99, 130, 3)
        assert picture.dtype == np.uint8
        assert (picture == picture[:, :, :1]).all()


def test_pictures_differ_between_numbers_and_seeds() -> None:
    lines = [SurfaceGenerator(seed=seed, width=96, height=96, textures=2) for seed in (1, 2)]
    assert len({digest(line.picture(number)) for line in lines for number in range(20)}) == 40


def test_a_defect_changes_pixels_inside_its_ellipse_only(
    good_line: SurfaceGenerator, bad_line: SurfaceGenerator
) -> None:
    for number in range(COUNT):
        truth = bad_line.defect_at(number)
        assert truth is not None
        mask = truth.mask(512, 512)
        changed = (bad_line.picture(number) != good_line.picture(number)).any(axis=2)
        assert not changed[~mask].any()
        assert 0.15 < changed.sum() / mask.sum() < 1


def test_a_defect_is_smooth_in_its_core_and_keeps_the_brightness_around(
    good_line: SurfaceGenerator, bad_line: SurfaceGenerator
) -> None:
    for number in range(COUNT):
        truth = bad_line.defect_at(number)
        assert truth is not None
        good, bad = good_line.picture(number)[:, :, 0], bad_line.picture(number)[:, :, 0]
        mask = truth.mask(512, 512)
        texture = fine_texture(bad)
        around = np.median(texture[cv2.dilate(mask.astype(np.uint8), np.ones((21, 21))).astype(bool) & ~mask])
        assert texture[mask].min() < around / 2
        # Weak: nothing to see in the mean brightness.
        assert abs(float(bad[mask].mean()) - float(good[mask].mean())) < 4


def test_no_good_surface_is_anywhere_as_smooth_as_a_defect(
    good_line: SurfaceGenerator, bad_line: SurfaceGenerator
) -> None:
    pictures = [line.picture(number)[:, :, 0] for number in range(COUNT) for line in (good_line, bad_line)]
    smoothest = [float(fine_texture(grey).min()) for grey in pictures]
    good, bad = smoothest[::2], smoothest[1::2]
    assert max(bad) < min(good)


def test_good_surfaces_have_dark_places_that_brightness_alone_would_mistake(
    good_line: SurfaceGenerator, bad_line: SurfaceGenerator
) -> None:
    def darkest(line: SurfaceGenerator) -> NDArray[np.float64]:
        smoothed = (cv2.GaussianBlur(line.picture(n)[:, :, 0], (0, 0), 12) for n in range(COUNT))
        return np.array([float(grey.min()) for grey in smoothed])

    good, bad = darkest(good_line), darkest(bad_line)
    # The share of pairs in which the defective picture holds the darker place: 0.5 is a coin.
    assert 0.35 < float((bad[:, None] < good[None, :]).mean()) < 0.65


def test_the_rate_is_met_and_a_higher_one_only_adds_defects() -> None:
    lines = {
        rate: SurfaceGenerator(seed=4, width=64, height=64, defect_rate=rate, textures=1)
        for rate in (0, 0.05, 0.3, 1)
    }
    found = {
        rate: {n: line.defect_at(n) for n in range(4000) if line.defect_at(n)} for rate, line in lines.items()
    }
    assert len(found[0]) == 0
    assert len(found[1]) == 4000
    for rate in (0.05, 0.3):
        # Four standard deviations of the binomial distribution.
        assert abs(len(found[rate]) - 4000 * rate) < 4 * (4000 * rate * (1 - rate)) ** 0.5
    assert found[0.05].items() <= found[0.3].items() <= found[1].items()


def test_ellipses_have_the_sizes_of_the_real_labels_and_a_core_inside_the_picture() -> None:
    line = SurfaceGenerator(seed=6, width=600, height=512, defect_rate=1, textures=1)
    for number in range(500):
        truth = line.defect_at(number)
        assert truth is not None
        assert 29 <= truth.semi_minor <= truth.semi_major <= 90
        assert 0.7 * truth.semi_minor <= truth.center_x <= 599 - 0.7 * truth.semi_minor
        assert 0.7 * truth.semi_minor <= truth.center_y <= 511 - 0.7 * truth.semi_minor


def measures(grey: NDArray[np.uint8]) -> dict[str, float]:
    """What makes a Class1 picture look as it does, as plain figures."""
    values = grey.astype(float)
    centred = values - values.mean()
    power = np.abs(np.fft.fft2(centred * np.outer(np.hanning(512), np.hanning(512)))) ** 2
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)[None, :])
    texture = fine_texture(grey)
    return {
        "mean": values.mean(),
        "contrast": values.std(),
        "skewness": (centred**3).mean() / values.std() ** 3,
        "step between neighbours": float(np.abs(np.diff(values)).mean()),
        "slow changes of brightness": float(cv2.GaussianBlur(values, (0, 0), 8).std()),
        "share of fine grain": float(power[frequency > 0.25].sum() / power.sum()),
        "share of coarse bands": float(power[frequency < 0.05].sum() / power.sum()),
        "weakest texture": float(np.percentile(texture, 5)),
        "strongest texture": float(np.percentile(texture, 95)),
    }


def test_simulated_surfaces_measure_like_the_real_ones(dagm_root: Path, good_line: SurfaceGenerator) -> None:
    folder = dagm_root / "Class1" / "Train"
    rows = [row.split("\t") for row in (folder / "Label" / "Labels.txt").read_text().splitlines()[1:]]
    names = [row[2] for row in rows if row[1] == "0"][:COUNT]
    real = [measures(cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)) for name in names]
    simulated = [measures(good_line.picture(number)[:, :, 0]) for number in range(COUNT)]
    for name in real[0]:
        low, high = np.percentile([one[name] for one in real], [5, 95])
        middle = np.median([one[name] for one in simulated])
        assert low <= middle <= high, name


def test_surfaces_are_nearly_mirrored_about_an_axis_as_the_real_ones_are() -> None:
    line = SurfaceGenerator(seed=2, width=256, height=256, defect_rate=0, textures=12)
    strongest = []
    for number in range(24):
        grey = line.picture(number)[:, :, 0].astype(np.float32)
        fine = grey - cv2.GaussianBlur(grey, (0, 0), 6)
        # Correlating a picture with its mirror image peaks where an axis of symmetry lies.
        mirrored = np.fft.ifft2(np.fft.fft2(fine) * np.conj(np.fft.fft2(fine[:, ::-1]))).real
        upright = np.fft.ifft2(np.fft.fft2(fine) * np.conj(np.fft.fft2(fine[::-1]))).real
        strongest.append(max(mirrored.max(), upright.max()) / float((fine * fine).sum()))
    assert np.median(strongest) > 0.3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": 0, "width": 63}, "64 to 4096"),
        ({"seed": 0, "height": 5000}, "64 to 4096"),
        ({"seed": 0, "defect_rate": 1.01}, "from 0 to 1"),
        ({"seed": 0, "defect_rate": float("nan")}, "from 0 to 1"),
        ({"seed": 0, "textures": 0}, "texture"),
    ],
)
def test_settings_out_of_range_are_refused_in_a_sentence(settings: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SurfaceGenerator(**settings)
