"""Spoiled pictures are refused with their reason, good ones are not, and never one for its defect."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitor.capture.image_checks import QualityLimits, measure, unusable_reason
from monitor.learning.evaluate.corruptions import brightness, h264, noise
from monitor.records import Image
from monitor.simulate.surface import SurfaceGenerator
from tests.support.corrupted_images import FAULTS, HIDDEN_BY_GRAIN, LIMITS, dagm_pictures, tile_pictures

LINE = SurfaceGenerator(5, 512, 512, defect_rate=1, textures=4)


REPEATABLE = settings(derandomize=True)  # a detector may miss one in thousands: not now and then, please


@pytest.fixture(scope="session")
def dagm(dagm_root: Path) -> list[Image]:
    return dagm_pictures(dagm_root, every=10)


@pytest.fixture(scope="session")
def tiles(dagm_root: Path) -> list[Image]:
    return tile_pictures(dagm_root, every=10)


@pytest.fixture(scope="session")
def brushed() -> Image:
    """A simulated surface ground from top to bottom: what continuity a tear can break."""
    random = np.random.default_rng(4)
    stripes = cv2.GaussianBlur(random.normal(0, 40, (1, 640)), (0, 0), 1.5)
    surface = 110 + stripes + random.normal(0, 4, (480, 640))
    return np.repeat(np.clip(surface, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def reasons(pictures: list[Image]) -> list[str | None]:
    return [unusable_reason(picture, LIMITS) for picture in pictures]


@pytest.mark.parametrize("surface", ["dagm", "tiles"])
def test_good_pictures_and_defects_are_judged(surface: str, request: pytest.FixtureRequest):
    assert not any(reasons(request.getfixturevalue(surface)))


@pytest.mark.parametrize("surface", ["dagm", "tiles"])
def test_nor_does_coding_exposure_or_noise_make_them_unusable(surface: str, request: pytest.FixtureRequest):
    pictures = request.getfixturevalue(surface)[::2]
    for change in (
        lambda picture: h264(picture, 1.0),
        lambda picture: brightness(picture, 0.8),
        lambda picture: brightness(picture, 1.2),
        lambda picture: noise(picture, 8),
        lambda picture: np.ascontiguousarray(np.rot90(picture)),
    ):
        assert not any(reasons([change(picture) for picture in pictures]))


@pytest.mark.parametrize(
    ("surface", "fault"),
    [("tiles", fault) for fault in FAULTS]
    + [("dagm", fault) for fault in FAULTS if fault not in HIDDEN_BY_GRAIN],
)
def test_every_fault_is_found_and_named(surface: str, fault: str, request: pytest.FixtureRequest):
    random = np.random.default_rng(8)
    found = reasons([FAULTS[fault](picture, random) for picture in request.getfixturevalue(surface)])
    assert {(reason or "").partition(":")[0] for reason in found} - {""} == {fault.partition(":")[0]}
    # Where a tear happens to join two streaks, or lies at the edge of a part, it may pass: 3 of 395 do.
    assert found.count(None) <= (len(found) // 20 if fault == "torn" else 0)
    assert all(reason is None or reason.isprintable() for reason in found)


@REPEATABLE
@given(number=st.integers(0, 2000), seed=st.integers(0, 2**32 - 1), fault=st.sampled_from(sorted(FAULTS)))
def test_every_fault_of_a_simulated_surface_is_found(number: int, seed: int, fault: str):
    picture = LINE.picture(number)
    assert unusable_reason(picture, LIMITS) is None
    if fault not in HIDDEN_BY_GRAIN:
        reason = unusable_reason(FAULTS[fault](picture, np.random.default_rng(seed)), LIMITS)
        assert reason is not None
        assert reason.startswith(fault.partition(":")[0])


@REPEATABLE
@given(top=st.integers(70, 410), shift=st.integers(16, 624))
def test_a_tear_is_found_wherever_it_is_and_its_place_told(brushed: Image, top: int, shift: int):
    spoiled = brushed.copy()
    spoiled[top:] = np.roll(brushed[top:], shift, axis=1)
    assert unusable_reason(spoiled, LIMITS) == f"torn: the image jumps {top / 480:.0%} down from its top"


@REPEATABLE
@given(top=st.integers(70, 400), high=st.integers(1, 8), level=st.integers(0, 255))
def test_a_scratch_across_the_whole_width_is_no_tear(brushed: Image, top: int, high: int, level: int):
    scratched = brushed.copy()
    scratched[top : top + high] = np.clip(scratched[top : top + high] * 0.2 + 0.8 * level, 0, 255)
    assert unusable_reason(scratched, LIMITS) is None


@REPEATABLE
@given(
    corner=st.tuples(st.integers(0, 639), st.integers(0, 479)),
    size=st.tuples(st.integers(1, 128), st.integers(1, 120)),
    level=st.integers(0, 255),
)
def test_a_spot_on_up_to_a_twentieth_of_the_picture_never_refuses_it(
    brushed: Image, corner: tuple[int, int], size: tuple[int, int], level: int
):
    spotted = brushed.copy()
    spotted[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]] = level
    assert unusable_reason(spotted, LIMITS) is None


@settings(max_examples=200)
@given(arrays(np.uint8, st.tuples(st.integers(1, 80), st.integers(1, 80), st.just(3))))
def test_any_picture_gets_an_answer(picture: Image):
    reason = unusable_reason(picture, LIMITS)
    assert reason is None or reason.isprintable()


@pytest.mark.parametrize("factor", [2, 5])
def test_larger_pictures_are_held_to_the_same_limits(factor: int, brushed: Image):
    random = np.random.default_rng(2)
    size = (640 * factor, 480 * factor)
    large = cv2.resize(brushed, size, interpolation=cv2.INTER_NEAREST)
    assert unusable_reason(large, LIMITS) is None
    for name, spoil in FAULTS.items():
        reason = unusable_reason(spoil(large, random), LIMITS)
        assert reason is not None, name
        assert reason.startswith(name.partition(":")[0])


def test_each_limit_can_be_switched_off(brushed: Image):
    off = QualityLimits(black=-1, white=256, uniform=0, saturated=1, smeared=1, blurred=0, noise=8, torn=0)
    random = np.random.default_rng(3)
    for name, spoil in FAULTS.items():
        assert unusable_reason(spoil(brushed, random), off) is None, name


@given(level=st.integers(0, 255), noise=st.floats(0, 60), seed=st.integers(0, 99))
def test_the_measures_agree_with_the_verdict_on_the_frame(level: int, noise: float, seed: int) -> None:
    grain = np.random.default_rng(seed).normal(level, noise, (96, 128, 1))
    image = np.repeat(np.clip(grain, 0, 255), 3, axis=2).astype(np.uint8)
    limits = replace(LIMITS, torn=0)  # a tear has no single figure
    beyond = [measure.name for measure in measure(image, limits) if measure.is_beyond]
    reason = unusable_reason(image, limits)
    assert (reason.split(":")[0] if reason else None) == (beyond[0] if beyond else None)
