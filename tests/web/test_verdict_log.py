"""The strip of the last minutes: from verdicts, or from events and coverage where those are not published."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from monitor.redis_streams.history import StreamHistory
from monitor.web.camera.verdict_log import SECONDS, VerdictLog
from tests.support.events import make_event


@pytest.fixture
def history(valkey):
    history = StreamHistory(valkey)
    yield history
    history.close()


@pytest.fixture
def now():
    return datetime.now(UTC)


def add_event(client, at, camera="left", number=0):
    event = make_event(number, camera).model_copy(update={"captured_at": at})
    client.xadd("defects:events", {"id": event.id, "camera": camera, "event": event.to_json()})


def add_gap(client, begin, end, frames, *, cause="overload", camera="left"):
    fields = {"kind": "gap", "camera": camera, "cause": cause, "frames": frames}
    times = {"from": begin.isoformat(), "to": end.isoformat()}
    client.xadd("defects:coverage", {**fields, **times})


def test_events_and_gaps_are_placed_at_their_seconds(history, client, now):
    add_event(client, now - timedelta(seconds=10))
    add_event(client, now - timedelta(seconds=10), number=1)
    add_event(client, now - timedelta(seconds=4), camera="right")
    add_event(client, now - timedelta(seconds=SECONDS + 20))
    add_gap(client, now - timedelta(seconds=30), now - timedelta(seconds=21), 25)
    add_gap(client, now - timedelta(seconds=3), now - timedelta(seconds=2), 0, cause="timeout")
    client.xadd("defects:coverage", {"kind": "gap", "camera": "left"})  # of a form not known here
    log = VerdictLog(history, has_verdicts=False)
    seconds = dict(log.strip("left", now))
    assert sum(it.flagged for it in seconds.values()) == 2
    assert seconds[10].flagged == 2
    assert round(seconds[10].score, 3) == 0.912
    assert sum(it.lost for it in seconds.values() if it.cause == "overload") == 25
    assert set(range(21, 31)) <= set(seconds)
    assert {it.cause for it in seconds.values()} == {None, "overload", "timeout"}
    assert len(log.strip("right", now)) == 1


def test_only_what_is_new_is_read(history, client, now, monkeypatch):
    log = VerdictLog(history, has_verdicts=False)
    add_event(client, now)
    assert len(log.strip("left", now)) == 1
    monkeypatch.setattr("monitor.web.camera.verdict_log._MIN_INTERVAL", 0)
    log.strip("left", now)
    [(_, outcomes)] = log.strip("left", now)
    assert outcomes.flagged == 1, "it was counted again"
    add_event(client, now, number=1)
    [(_, outcomes)] = log.strip("left", now)
    assert outcomes.flagged == 2


def test_every_frame_is_known_where_verdicts_are_published(history, client, now):
    at = (now - timedelta(seconds=7)).isoformat()
    verdicts = [
        {"frame_number": 0, "captured_at": at, "outcome": "clean", "score": 0.2},
        {"frame_number": 1, "captured_at": at, "outcome": "defect", "score": 0.9},
        {"frame_number": 2, "last_number": 4, "captured_at": at, "outcome": "dropped", "cause": "overload"},
        {"frame_number": 5, "outcome": "unreported"},
    ]
    client.xadd("defects:verdicts", {"camera": "left", "verdicts": json.dumps({"verdicts": verdicts})})
    seconds = dict(VerdictLog(history, has_verdicts=True).strip("left", now))
    assert (seconds[7].clean, seconds[7].flagged, seconds[7].lost) == (1, 1, 3)
    assert (seconds[7].score, seconds[7].cause) == (0.9, "overload")
    assert sum(it.lost for it in seconds.values()) == 4  # the one without a time counts when it came
