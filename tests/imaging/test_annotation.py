"""The picture of an event: what it shows, and what it leaves alone."""

from datetime import UTC, datetime, timedelta, timezone

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import ImageError
from monitor.imaging.annotation import annotate
from monitor.imaging.jpeg import encode_jpeg
from monitor.imaging.regions import find_regions

WHEN = datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=UTC)


def surface(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 110, (height, width, 3), np.uint8)


def spot(width: int, height: int, x: float, y: float, spread: float) -> np.ndarray:
    xs, ys = np.arange(width), np.arange(height)[:, None]
    return np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * spread**2)).astype(np.float32)


def drawn(image, heat, regions=None, **changes):
    given_regions = (
        find_regions(heat, threshold=0.5) if regions is None and heat is not None else regions or ()
    )
    words = {"label": "defect", "score": 0.987, "threshold": 0.5, "camera": "line-1", "captured_at": WHEN}
    return annotate(image, given_regions, heat, **{**words, **changes})


@given(st.integers(64, 900), st.integers(64, 900), st.floats(0, 1), st.floats(0, 1), st.text(max_size=60))
@settings(max_examples=40)
def test_the_frame_keeps_its_size_and_place_and_its_cold_pixels(width, height, x, y, reason):
    image = surface(width, height)
    heat = spot(width, height, x * (width - 1), y * (height - 1), min(width, height) / 20)
    picture = drawn(image, heat, reason=reason)
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (width, 3)
    assert picture.shape[0] > height
    far = heat < 1e-9
    (region,) = find_regions(heat, threshold=0.5)
    reach = 4 * max(1, round(min(width, height) / 300))
    box = region.box
    far[max(box.top - reach, 0) : box.bottom + reach, max(box.left - reach, 0) : box.right + reach] = False
    assert far.any()
    np.testing.assert_array_equal(picture[:height][far], image[far])


def test_the_picture_handed_in_is_not_drawn_on():
    image = surface(200, 100)
    before = image.copy()
    drawn(image, spot(200, 100, 50, 50, 10))
    np.testing.assert_array_equal(image, before)


def test_a_grey_picture_is_drawn_like_the_same_in_colour():
    grey = surface(120, 90)[..., 0]
    heat = spot(120, 90, 60, 40, 8)
    np.testing.assert_array_equal(drawn(grey, heat), drawn(np.dstack([grey] * 3), heat))


def test_warm_pixels_are_tinted_and_the_surface_still_shows_through():
    image = surface(300, 300)
    heat = spot(300, 300, 150, 150, 30)
    picture = drawn(image, heat, regions=())[:300]
    core = heat > 0.9
    assert not np.array_equal(picture[core], image[core])
    shown = np.corrcoef(picture[core].mean(axis=1), image[core].mean(axis=1))[0, 1]
    assert shown > 0.9
    # A defect darker than its surroundings keeps three quarters of its contrast.
    dark = image.copy()
    dark[::2] -= 30
    change = drawn(image, heat, regions=())[:300][::2].astype(int) - drawn(dark, heat, regions=())[:300][::2]
    assert change[core[::2]].min() >= 0.74 * 30 - 1


def test_heat_is_drawn_as_asked_and_boxes_always():
    image, heat = surface(300, 300), spot(300, 300, 150, 150, 30)
    (region,) = find_regions(heat, threshold=0.5)
    overlay, outline, none = (
        drawn(image, heat, heat_style=style)[:300] for style in ("overlay", "outline", "none")
    )
    box = region.box
    inside = np.s_[box.top : box.bottom, box.left : box.right]
    np.testing.assert_array_equal(none[inside], image[inside])
    assert not np.array_equal(outline[inside], image[inside])
    centre = np.s_[145:155, 145:155]
    np.testing.assert_array_equal(outline[centre], image[centre])
    assert not np.array_equal(overlay[centre], image[centre])
    for picture in (overlay, outline, none):
        assert not np.array_equal(
            picture[box.top - 1, box.left : box.right], image[box.top - 1, box.left : box.right]
        )


@pytest.mark.parametrize(("x", "y"), [(0, 0), (299, 0), (0, 199), (299, 199), (150, 100)])
def test_a_box_is_seen_on_all_four_sides_also_at_the_border(x, y):
    image = np.full((200, 300, 3), 70, np.uint8)
    heat = spot(300, 200, x, y, 12)
    (region,) = find_regions(heat, threshold=0.5)
    picture = drawn(image, np.zeros_like(heat), regions=[region])[:200]
    line = (picture == (80, 110, 255)).all(axis=2)
    box = region.box
    middle_x, middle_y = (box.left + box.right) // 2, (box.top + box.bottom) // 2
    for side in (
        line[middle_y, : box.left + 3],
        line[middle_y, box.right - 3 :],
        line[: box.top + 3, middle_x],
        line[box.bottom - 3 :, middle_x],
    ):
        assert side.any()


def test_every_region_gets_its_box():
    heat = np.maximum(spot(400, 300, 60, 60, 10), spot(400, 300, 300, 200, 10))
    regions = find_regions(heat, threshold=0.5)
    one, both = (drawn(surface(400, 300), None, regions=part) for part in (regions[:1], regions))
    second = regions[1].box
    where = np.s_[second.top - 2 : second.bottom + 2, second.left - 2 : second.right + 2]
    assert len(regions) == 2
    assert not np.array_equal(one[where], both[where])


def caption_of(**changes) -> np.ndarray:
    return drawn(np.zeros((200, 640, 3), np.uint8), None, **changes)[200:]


@pytest.mark.parametrize(
    "change",
    [
        {"label": "scratch"},
        {"score": 0.876},
        {"threshold": 0.3},
        {"camera": "line-2"},
        {"captured_at": WHEN + timedelta(milliseconds=1)},
        {"reason": "the heat is flat"},
    ],
)
def test_the_caption_tells_what_it_is_told(change):
    plain, changed = caption_of(), caption_of(**change)
    assert plain.shape != changed.shape or not np.array_equal(plain, changed)


def test_time_is_shown_in_utc_whatever_zone_it_comes_in():
    elsewhere = WHEN.astimezone(timezone(timedelta(hours=9)))
    np.testing.assert_array_equal(caption_of(captured_at=elsewhere), caption_of())
    np.testing.assert_array_equal(caption_of(captured_at="2026-03-04 05:06:07.123 UTC"), caption_of())


def test_a_long_reason_is_broken_and_not_cut():
    words = "no place stands out "
    assert caption_of(reason=words * 9).shape[0] > caption_of(reason=words).shape[0]
    margin = caption_of(reason=words * 9)[:, -3:]
    assert (margin == margin[0, 0]).all()


def test_letters_grow_with_the_picture():
    small = drawn(np.zeros((480, 640, 3), np.uint8), None).shape[0] - 480
    large = drawn(np.zeros((3000, 4000, 3), np.uint8), None).shape[0] - 3000
    assert 5 < large / small < 8


@pytest.mark.parametrize("quality", [1, 50, 95])
def test_a_jpeg_shows_what_was_encoded(quality):
    picture = cv2.GaussianBlur(surface(160, 120), (0, 0), 5)
    data = encode_jpeg(picture, quality)
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).mean() < 12


def test_better_quality_takes_more_bytes():
    picture = surface(160, 120)
    sizes = [len(encode_jpeg(picture, quality)) for quality in (10, 50, 90)]
    assert sizes == sorted(sizes)


def test_a_picture_too_large_for_jpeg_is_one_clear_error():
    with pytest.raises(ImageError, match="cannot be encoded as JPEG"):
        encode_jpeg(np.zeros((2, 70_000, 3), np.uint8), 80)
