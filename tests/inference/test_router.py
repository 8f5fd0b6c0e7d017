"""Each camera has its model, and a model is loaded once."""

from monitor.inference.router import ModelRouter
from tests.support.fake_model import FakeModel


def test_a_camera_without_a_model_of_its_own_has_the_default() -> None:
    default, own = FakeModel(), FakeModel()
    router = ModelRouter(default, {"top": own})
    assert router.handle_for("top") is own
    assert router.handle_for("bottom") is default


def test_a_model_of_several_cameras_is_loaded_and_closed_once() -> None:
    default, own = FakeModel(), FakeModel()
    router = ModelRouter(default, {"top": own, "side": own})
    router.load()
    assert (default.loads, own.loads) == (1, 1)
    router.close()
    assert default.closed
    assert own.closed


def test_a_swapped_camera_has_the_new_model_from_then_on_and_others_keep_theirs() -> None:
    default, new = FakeModel(), FakeModel()
    router = ModelRouter(default)
    router.swap("top", new)
    assert router.handle_for("top") is new
    assert router.handle_for("bottom") is default
    assert list(router.handles) == [default, new]
