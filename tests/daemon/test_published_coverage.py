"""Whatever kind of coverage entry the daemon writes: it is valid against the schema that ships."""

import contextlib
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import jsonschema

from monitor.capture.camera_state import CameraStateMachine
from monitor.capture.gaps import GapAggregator
from monitor.daemon.coverage import CoverageRecorder
from monitor.daemon.publisher import EventPublisher
from monitor.delivery.clock import AgeClock
from monitor.delivery.drops import DROP_MESSAGES, DropCause
from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.coverage import parse_numbers
from monitor.events.incidents import IncidentTracker, IncidentWindow
from monitor.events.messages import NoticeMessage
from monitor.events.schemas import COVERAGE_SCHEMA_FILE
from monitor.pipeline.interfaces import frame_gap
from monitor.telemetry.metrics import Metrics, create_registry
from tests.support.events import BEGIN, make_finding, make_parcel, make_verdicts

SCHEMA = json.loads(COVERAGE_SCHEMA_FILE.read_text(encoding="utf-8"))


def entries_of(queue: OutboxQueue) -> list[dict[str, str]]:
    """The coverage entries in the queue, each valid, and refused once a field of it is another."""
    batch = [entry.message for entry in queue.next_batch("redis", 1000, 10**9)]
    queue.release("redis")
    entries = [dict(it.fields) for it in batch if isinstance(it, NoticeMessage) and it.stream == "coverage"]
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for entry in entries:
        validator.validate(entry)
        assert not validator.is_valid(entry | {"kind": "other"})
        assert not validator.is_valid(entry | {"unheard-of": "x"})
        assert not validator.is_valid({name: text for name, text in entry.items() if name != "camera"})
    return entries


def test_gaps_states_and_conflicts_are_valid() -> None:
    queue = OutboxQueue(["redis"])
    metrics = Metrics(create_registry())
    publisher = EventPublisher(Outbox(queue, []), IncidentTracker(IncidentWindow()), "line1", metrics)
    record = CoverageRecorder(metrics, publisher.publish_notice).record
    state = CameraStateMachine("top", record, expected=10.0)
    state.start(("not-running", BEGIN))
    for second in range(12):
        state.frame_arrived(datetime.now(UTC), float(second))
    state.mark_failed("timeout", "no answer in 3 s")
    state.mark_failed("stalled", "no frame arrived for 3 s", "stalled")
    state.frame_refused(datetime.now(UTC), "misconfigured", "the frame is 64x48")
    state.source_idle(datetime.now(UTC))
    state.mark_ended()
    gaps = GapAggregator("top")
    gaps.record_lost("unreadable", 4, BEGIN, 0.0, detail="no image", name="a\udcfc.png")
    gaps.record_lost("lost-upstream", 5, BEGIN, 0.0, frames=300)
    gaps.record_frame("overload", make_finding(305).frame, 0.0)
    gaps.record_frame("overload", make_finding(307).frame, 0.0)
    for gap in [*gaps.pop_all(), frame_gap(make_finding(308).frame, "stopping", "no event was made of it")]:
        record(gap)
    publisher.on_conflict("top", "line2")
    publisher.on_conflict("top", None)

    entries = entries_of(queue)
    assert {entry["kind"] for entry in entries} == {"gap", "camera", "clash"}
    assert {entry["cause"] for entry in entries if entry["kind"] == "gap"} >= {
        *("not-running", "timeout", "stalled", "unreadable", "lost-upstream", "overload", "stopping"),
    }
    assert [entry["state"] for entry in entries if entry["kind"] == "clash"] == ["begun", "over"]
    assert "slow" in {entry.get("cause") for entry in entries if entry["kind"] == "camera"}


def test_every_cause_for_which_the_outbox_drops_is_valid_and_names_frames(tmp_path: Path) -> None:
    seconds = 0.0
    age_clock = AgeClock(seconds=lambda: seconds, is_synchronised=lambda: True, boot="this")
    path = tmp_path / "outbox.db"
    storage = SqliteStorage(path, sync="process")
    queue = OutboxQueue(["redis"], storage=storage)
    queue.append(make_parcel(90))
    queue.append(make_verdicts(40))
    queue.commit()
    storage.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")  # a file that must be set aside, with readable rows

    queue = OutboxQueue(
        ["redis"], max_items=20, max_age=60, storage=SqliteStorage(path, sync="process"), age_clock=age_clock
    )
    for number in range(19):
        queue.append(make_parcel(number))
    queue.append(make_verdicts(50))
    for number in (20, 21):  # drops events 0 and 1
        queue.append(make_parcel(number))
    batch = queue.next_batch("redis", 2, 10**9)
    queue.set_aside("redis", [(batch[0], "TypeError: it is none")])  # event 2
    queue.acknowledge("redis", batch[0].key)
    seconds = 100.0
    queue.append(make_parcel(30))
    batch = queue.next_batch("redis", 1, 10**9)
    queue.release("redis")
    queue.record_stripped(batch, {"top": 1})
    queue.maintain(hurried=True)  # drops the verdicts and the events but the last
    queue.report_all_drops()

    shed = {entry["cause"]: entry for entry in entries_of(queue) if entry["camera"] == "top"}
    assert set(shed) == set(DROP_MESSAGES) == set(get_args(DropCause))
    assert shed["outbox-damaged"]["numbers"] == "90"
    assert shed["outbox-damaged"]["verdict_numbers"] == "40-42"
    assert shed["outbox-full"]["numbers"] == "0-1"
    assert shed["outbox-set-aside"]["numbers"] == "2"
    assert shed["outbox-set-aside"]["detail"] == "redis: TypeError: it is none"
    assert list(parse_numbers(shed["outbox-too-old"]["numbers"])) == [*range(3, 19), 20, 21]
    assert (shed["outbox-too-old"]["verdicts"], shed["outbox-too-old"]["verdict_numbers"]) == ("3", "50-52")
    assert "numbers" not in shed["picture-withheld"]
