"""Each camera has its model, and a model is loaded once."""

from monitor.inference.router import ModelRouter
from tests.support.fake_model import FakeModel, spec_of


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


def test_another_routing_is_in_force_at_once_and_leaves_what_was_read_before_as_it_was() -> None:
    default, new = FakeModel(), FakeModel(spec_of(threshold=0.3))
    router = ModelRouter(default, {"top": FakeModel()}, {"top": 0.7})
    before = router.routing
    router.adopt(ModelRouter(default, {"top": new}, {"side": 0.9}, "cups"))
    assert router.handle_for("top") is new
    assert router.handle_for("bottom") is default
    assert [router.routing.threshold_for(name) for name in ("top", "side", "bottom")] == [0.3, 0.9, 0.5]
    assert list(router.handles) == [default, new]
    assert before.handle_for("top") is not new
    assert before.threshold_for("top") == 0.7
    assert (before.recipe, router.routing.recipe) == (None, "cups")
