"""What was given up is told once: by cause and camera, when telling makes sense."""

from collections import Counter
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.delivery.drops import DropCause, DropRecorder
from monitor.delivery.storage import DropKey
from tests.support.events import BEGIN

ONE = Counter[DropKey]({("top", "pictures"): 1})


def after(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def test_what_a_full_outbox_gave_up_is_told_once_there_is_room() -> None:
    losses = DropRecorder()
    assert losses.record("outbox-full", Counter({("top", "events"): 2, ("side", "pictures"): 1}), BEGIN)
    assert not losses.record("outbox-full", Counter({("top", "events"): 3}), after(9))
    assert losses.pop_due(after(1000), room=False, hurried=True) == []
    side, top = losses.pop_due(after(1000), room=True)
    assert (side.camera, side.pictures, side.events) == ("side", 1, 0)
    assert (top.camera, top.pictures, top.events) == ("top", 0, 5)
    assert (top.started_at, top.ended_at, top.cause) == (BEGIN, after(9), "outbox-full")
    assert not losses.pending


def test_withheld_pictures_are_told_after_a_pause_or_a_minute_and_not_one_by_one() -> None:
    losses = DropRecorder()
    told = []
    for second in range(150):
        losses.record("picture-withheld", ONE, after(second))
        told += losses.pop_due(after(second), room=True)
    assert [shed.pictures for shed in told] == [61, 61]
    assert losses.pop_due(after(150), room=True) == []
    assert [shed.pictures for shed in losses.pop_due(after(154), room=False)] == [28]


def test_at_the_end_all_is_told_at_once() -> None:
    losses = DropRecorder()
    losses.record("picture-withheld", ONE, BEGIN)
    assert len(losses.pop_due(BEGIN, room=False, hurried=True)) == 1
    losses.record("picture-withheld", ONE, BEGIN)
    losses.record("outbox-too-old", ONE, BEGIN)
    assert [shed.cause for shed in losses.pop_all()] == ["outbox-too-old", "picture-withheld"]
    assert not losses.pending


def test_nothing_is_told_of_nothing() -> None:
    losses = DropRecorder()
    assert not losses.record("outbox-full", Counter(), BEGIN)
    assert not losses.pending


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("outbox-full", "outbox-too-old", "picture-withheld")),
            st.sampled_from(("top", "side")),
            st.sampled_from(("pictures", "events", "notices")),
            st.integers(1, 5),
            st.booleans(),
        )
    )
)
def test_every_loss_is_told_exactly_once_and_withheld_pictures_are_not_the_outboxes_loss(
    noted: list[tuple[DropCause, str, str, int, bool]],
) -> None:
    losses, told = DropRecorder(), []
    for second, (cause, camera, kind, count, room) in enumerate(noted):
        losses.record(cause, Counter({(camera, kind): count}), after(second))  # type: ignore[dict-item]  # kinds as text
        told += losses.pop_due(after(second), room=room)
    told += losses.pop_all()
    for wanted in ("pictures", "events", "notices"):
        amounts = [count for _, _, kind, count, _ in noted if kind == wanted]
        assert sum(getattr(shed, wanted) for shed in told) == sum(amounts)
        shed = [count for cause, _, kind, count, _ in noted if kind == wanted and cause != "picture-withheld"]
        assert losses.shed[wanted] == sum(shed)  # type: ignore[index]  # kinds as text
