"""Which limits a camera's pictures are held to."""

from monitor.bootstrap import capture as build_capture
from monitor.capture.image_checks import QualityLimits
from monitor.settings import parse_settings

TWO = '[[camera]]\nname = "one"\nsource = "simulate:"\n[[camera]]\nname = "two"\nsource = "simulate:"\n'


def limits(text: str) -> tuple[QualityLimits | None, ...]:
    settings = parse_settings(TWO + text, "line.toml", {})
    return tuple(build_capture.quality_limits(settings, camera) for camera in settings.camera)


def test_all_cameras_have_those_of_the_table_but_one_that_has_its_own():
    one, two = limits("[camera.sanity]\nsaturated = 1\n[sanity]\nblack = 5\n")
    assert one is not None
    assert two is not None
    assert (one.black, one.saturated) == (5, 0.75)
    assert (two.black, two.saturated) == (20, 1)


def test_they_can_be_switched_off_for_all_or_for_one():
    assert limits("[sanity]\nenabled = false\n") == (None, None)
    one, two = limits("[camera.sanity]\nenabled = false\n")
    assert (one is None, two is None) == (False, True)
