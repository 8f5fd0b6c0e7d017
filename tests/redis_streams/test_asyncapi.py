"""The AsyncAPI document says what is really published."""

import json
from contextlib import closing
from typing import Any

import jsonschema
import redis

from monitor.delivery.sinks.redis import RedisSink
from monitor.events.incidents import IncidentTracker, IncidentWindow
from monitor.events.messages import NoticeMessage
from monitor.events.schemas import schema_text
from monitor.records import CameraStateChange
from monitor.redis_streams.asyncapi import ASYNCAPI_FILE, asyncapi
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.sample_store import SampleStore
from tests.support.events import BEGIN, deliver, make_event, make_parcel, make_verdicts
from tests.support.labels import make_label, make_png, make_sample

DOCUMENT: dict[str, Any] = json.loads(ASYNCAPI_FILE.read_text())


def references(part: Any) -> list[str]:
    if isinstance(part, dict):
        inner = [found for value in part.values() for found in references(value)]
        return inner + ([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
    return [found for value in part for found in references(value)] if isinstance(part, list) else []


def test_the_shipped_file_is_up_to_date() -> None:
    assert ASYNCAPI_FILE.read_text() == schema_text(asyncapi()), (
        "run python -m monitor.redis_streams.asyncapi"
    )


def test_every_reference_leads_somewhere() -> None:
    assert references(DOCUMENT)
    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def payload(channel: str) -> dict[str, Any]:
    """The schema of what the channel's one message holds."""
    (message,) = DOCUMENT["channels"][channel]["messages"]
    reference = DOCUMENT["components"]["messages"][message]["payload"]["$ref"]
    return {"$ref": reference, "components": DOCUMENT["components"]}


def test_what_is_published_is_as_it_says(valkey: str) -> None:
    incidents = IncidentTracker(IncidentWindow())
    incidents.observe(make_event())
    report = incidents.pop_report()
    assert report is not None
    sink = RedisSink(valkey)
    deliver(
        sink,
        [
            make_parcel(),
            report.notice(),
            NoticeMessage.of(CameraStateChange("top", "down", BEGIN, "timeout")),
            make_verdicts(),
        ],
    )
    sink.close()
    with closing(SampleStore(valkey, "defects")) as store, closing(StreamHistory(valkey)) as history:
        store.store(make_sample(), make_png())
        history.add_label(make_label("good"))
    with redis.Redis.from_url(valkey, protocol=2, decode_responses=True) as client:
        fields_of = {"events": "event", "incidents": "incident", "verdicts": "verdicts", "coverage": None}
        fields_of |= {"samples": "sample", "labels": "label"}
        assert {*fields_of, "live"} == set(DOCUMENT["channels"])
        for channel, field in fields_of.items():
            ((_, fields),) = client.xrange(DOCUMENT["channels"][channel]["address"])
            jsonschema.validate(json.loads(fields[field]) if field else fields, payload(channel))
    assert DOCUMENT["channels"]["live"]["address"] == "defects:live:{camera}"
