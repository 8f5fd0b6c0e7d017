"""What tried settings would do: TOML that reads back, tiles, measures, and the last flagged frames."""

import tomllib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import UsageError
from monitor.settings import CameraSettings
from monitor.settings.schema import ExplainSettings, ModelSettings
from monitor.web.camera.tuning import (
    TriedSettings,
    check_sanity,
    settings_in_force,
    to_toml,
    try_on_events,
)
from tests.support.corrupted_images import LIMITS
from tests.support.events import make_event

IN_FORCE = TriedSettings(x=0, y=0, w=64, h=48, rows=1, columns=1, threshold=0.5, minimum_area=0.0005)
LIMIT_VALUES = {name: getattr(LIMITS, name) for name in LIMITS.__slots__}

SHARES = st.floats(0, 1).map(lambda value: round(value, 6))
TRIED = st.builds(
    TriedSettings,
    x=st.integers(0, 5000),
    y=st.integers(0, 5000),
    w=st.integers(1, 5000),
    h=st.integers(1, 5000),
    rows=st.integers(1, 16),
    columns=st.integers(1, 16),
    overlap=st.sampled_from([0.0, 0.05, 0.25, 0.5]),
    threshold=SHARES,
    minimum_area=SHARES,
)


@given(TRIED, st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True))
def test_the_toml_reads_back_as_what_was_tried(tried, name):
    written = tomllib.loads(to_toml(name, tried, IN_FORCE))
    camera = written.get("camera", [{}])[0]
    if camera:
        assert camera.pop("name") == name
        CameraSettings(name=name, source="simulate:", **camera)
    found = IN_FORCE.model_copy(
        update={
            **dict(zip("xywh", camera.get("roi", IN_FORCE.roi), strict=True)),
            **dict(zip(("rows", "columns"), camera.get("tiles", (1, 1)), strict=True)),
            "overlap": camera.get("overlap", 0.0),
            "threshold": ModelSettings(**written.get("model", {"threshold": 0.5})).threshold,
            "minimum_area": ExplainSettings(**written.get("explain", {})).minimum_area,
        }
    )
    assert found == tried


def test_nothing_changed_is_no_toml():
    assert to_toml("left", IN_FORCE, IN_FORCE) == ""


def test_settings_in_force_fall_back_to_the_whole_frame():
    found = settings_in_force(
        {"roi": None, "tiles": [2, 3]}, {"explain": {"minimum_area": 0.1}}, (64, 48), None
    )
    assert (found.roi, found.rows, found.columns) == ([0, 0, 64, 48], 2, 3)
    assert (found.threshold, found.minimum_area) == (None, 0.1)


def test_a_region_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="does not lie within"):
        IN_FORCE.tiles(63, 48)
    with pytest.raises(UsageError, match="more than 256"):
        IN_FORCE.model_copy(update={"rows": 16, "columns": 17}).tiles(64, 48)


def test_threshold_and_minimum_area_are_applied_to_flagged_frames():
    events = [("1-0", make_event(0))]  # score 0.912, one region of 150 of 3072 pixels
    for changes, expected in (
        ({}, (True, 1)),
        ({"threshold": 0.92}, (False, 1)),
        ({"minimum_area": 0.06}, (True, 0)),
        ({"threshold": None}, (True, 1)),
    ):
        [found] = try_on_events(events, IN_FORCE.model_copy(update=changes), IN_FORCE)
        assert (found.is_flagged, found.regions) == expected


def test_the_checks_see_the_tried_region_alone():
    image = np.zeros((240, 320, 3), np.uint8)
    grain = np.random.default_rng(1).integers(60, 200, (240, 160, 1), np.uint8)
    image[:, 160:] = cv2.GaussianBlur(grain, (0, 0), 1.2)[..., None]
    jpeg = cv2.imencode(".png", image)[1].tobytes()
    left = IN_FORCE.model_copy(update={"w": 320, "h": 480})
    right = left.model_copy(update={"x": 320})
    black = check_sanity(jpeg, (640, 480), left, LIMIT_VALUES)
    good = check_sanity(jpeg, (640, 480), right, LIMIT_VALUES)
    assert black.unusable.startswith("black")
    assert next(it.name for it in black.measures if it.is_beyond) == "black"
    assert good.unusable is None
    assert good.is_reduced
    assert check_sanity(b"no image", (640, 480), left, LIMIT_VALUES) is None
