"""Labels in Redis: a frame is found, answers are added and read, what is gone is one clear sentence."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError, UsageError
from monitor.events.labels import joint_answer, standing_labels
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.labelling import (
    FrameMissingError,
    build_label,
    build_withdrawal,
    find_target,
    read_labels,
)
from monitor.redis_streams.sample_store import SampleStore
from monitor.redis_streams.subscriber import Subscriber
from tests.support.events import deliver, make_event, make_parcel
from tests.support.labels import make_mask, make_png, make_sample


@pytest.fixture
def history(valkey: str) -> Iterator[StreamHistory]:
    """A server with one event and one sample."""
    sink, store = RedisSink(valkey), SampleStore(valkey, "defects")
    deliver(sink, [make_parcel(0)])
    store.store(make_sample(7), make_png())
    sink.close()
    store.close()
    history = StreamHistory(valkey)
    yield history
    history.close()


def test_an_event_and_a_sample_are_found_with_their_size(history: StreamHistory) -> None:
    event, sample = find_target(history, make_event(0).id), find_target(history, make_sample(7).id)
    assert (event.subject.kind, event.camera, event.width, event.height) == ("event", "top", 64, 48)
    assert (sample.subject.kind, sample.model_sha256) == ("sample", "a" * 64)


def test_an_unknown_or_removed_frame_is_one_clear_sentence(history: StreamHistory, client: Any) -> None:
    client.xtrim("defects:events", maxlen=0)
    for gone in (make_event(0).id, "never"):
        with pytest.raises(FrameMissingError, match=f"no event or sample '{gone}' in Redis.*nothing was"):
            find_target(history, gone)


def test_two_people_label_one_event_and_both_answers_are_kept(history: StreamHistory, valkey: str) -> None:
    target = find_target(history, make_event(0).id)
    first = build_label(target, "defect", "ann", defect_kind="scratch", boxes=[(1, 2, 3, 4)])
    second = build_label(target, "good", "ben")
    for label in (first, second):
        history.add_label(label)
    with Subscriber(valkey, interval=0.02) as subscriber:
        labels = list(subscriber.labels("0", stop=iter([False] * 3 + [True] * 9).__next__))
        assert labels == [first, second]
        assert [label for label, _ in subscriber.work_labels("g", "c", wait=False)] == labels
        ((sample, acknowledge),) = subscriber.work_samples("g", "c", wait=False)
        assert subscriber.sample_image(sample) == make_png()
        acknowledge()
    standing = standing_labels(labels)[target.subject.id]
    assert joint_answer(standing) == "disputed"
    undo = build_withdrawal(labels, target.subject.id, "ben")
    assert undo is not None
    history.add_label(undo)
    labels = read_labels(history.all_between("defects:labels", "-"))
    assert joint_answer(standing_labels(labels)[target.subject.id]) == "defect"
    assert build_withdrawal(labels, target.subject.id, "ben") is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"boxes": [(60, 0, 10, 10)]},
            "the box 60,0,10,10 reaches beyond the frame, which is 64 x 48 pixels",
        ),
        ({"boxes": [(0, 0, 0, 1)]}, "the box: Input should be greater than or equal to 1"),
        ({"mask_png": make_mask(8, 8)}, "the mask is 8 x 8 pixels, the frame 64 x 48"),
        ({"mask_png": "!"}, "the mask is not base64 text"),
        ({"defect_kind": "a/b"}, "the kind: has 1 to 64 characters"),
        ({"defect_kind": "good"}, "the kind: 'good' has another meaning in a folder of images"),
        ({"author": "x" * 65}, "the author's name: has 1 to 64 characters"),
        ({"answer": "good", "defect_kind": "scratch"}, "kind, boxes and mask belong to the answer"),
    ],
)
def test_a_wrong_kind_box_or_mask_is_one_sentence(
    history: StreamHistory, options: dict[str, Any], sentence: str
) -> None:
    arguments = {"answer": "defect", "author": "ann"} | options
    with pytest.raises(UsageError) as refused:
        build_label(find_target(history, make_event(0).id), **arguments)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_entries_that_are_no_labels_are_left_out(history: StreamHistory, client: Any) -> None:
    client.xadd("defects:labels", {"label": "{}"})
    client.xadd("defects:labels", {"id": "x"})
    client.xadd("defects:samples", {"id": "broken", "sample": "{}"})
    assert read_labels(history.all_between("defects:labels", "-")) == []
    with pytest.raises(FrameMissingError):
        find_target(history, "broken")


def test_without_redis_a_label_is_refused_and_named(make_server: Callable[..., Any]) -> None:
    server = make_server()
    history = StreamHistory(server.url, timeout=0.5)
    server.stop()
    with pytest.raises(DeliveryError, match="cannot be reached"):
        find_target(history, "any")
    history.close()
