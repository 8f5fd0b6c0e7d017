"""The event document: what it says, that its schema ships, that ids are safe."""

import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.errors import UsageError
from monitor.events.coverage import gap_entry, state_entry
from monitor.events.event import (
    Event,
    EventFamiliarity,
    EventIncident,
    build_event,
    event_id,
    format_timestamp,
)
from monitor.events.messages import EventMessage, NoticeMessage
from monitor.events.schemas import (
    INCIDENT_SCHEMA_FILE,
    SCHEMA_FILE,
    event_schema,
    incident_schema,
    schema_text,
)
from monitor.records import CameraStateChange, Gap, Verdict
from monitor.redis_streams.keys import RedisKeys
from tests.support.events import BEGIN, make_event, make_finding, make_jpeg

SCHEMA = json.loads(SCHEMA_FILE.read_text())


VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


times = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=st.just(UTC))


offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


numbers = st.integers(0, 2**53)


scores = st.floats(0, 1)


@st.composite
def events(draw: st.DrawFn) -> Event:
    finding = make_finding(draw(numbers) % 2**31, draw(st.text(min_size=1, max_size=80)), draw(st.booleans()))
    verdict = Verdict(draw(st.text(max_size=20)), draw(scores), draw(scores))
    latency = draw(st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0, 1e6), max_size=3))
    frame = replace(finding.frame, captured_at=draw(times))
    return build_event(
        replace(finding, frame=frame, verdict=verdict, latency=latency),
        model_name=draw(st.text(max_size=20)),
        model_sha256=draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
        incident=draw(st.none() | st.builds(EventIncident, id=st.text(), phase=st.just("start"))),
        familiarity=draw(st.none() | st.just(EventFamiliarity(distance=1.5, limit=2.0, unfamiliar=False))),
    )


def test_the_shipped_schema_is_the_models() -> None:
    assert SCHEMA_FILE.read_text() == schema_text(event_schema()), "run python -m monitor.events.schemas"
    assert INCIDENT_SCHEMA_FILE.read_text() == schema_text(incident_schema())
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@given(events())
def test_every_event_is_valid_and_comes_back_as_it_was(event: Event) -> None:
    text = event.to_json()
    VALIDATOR.validate(json.loads(text))
    assert "\n" not in text
    assert Event.from_json(text) == event


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", 2),
        ("score", 1.5),
        ("score", math.nan),
        ("score", "0.5"),
        ("captured_at", 1764000000),
        ("captured_at", "2026-11-23 04:05:06"),
        ("captured_at", "2026-11-23T04:05:06"),
        ("captured_at", "2026-11-23 04:05:06Z"),
        ("captured_at", "1764000000"),
        ("id", "../../etc/passwd"),
        ("id", ""),
        ("frame_number", -1),
        ("regions", None),
        ("model", {"name": "m", "sha256": "short"}),
    ],
)
def test_what_is_no_event_is_refused(field: str, value: object) -> None:
    document = json.loads(make_event().to_json()) | {field: value}
    with pytest.raises(ValidationError):
        Event.from_json(json.dumps(document))
    if not (isinstance(value, float) and math.isnan(value)):  # which is no JSON to begin with
        assert not VALIDATOR.is_valid(document)


def test_a_field_added_later_does_not_stop_a_reader() -> None:
    document = json.loads(make_event().to_json()) | {"humidity": 0.4}
    VALIDATOR.validate(document)
    assert Event.from_json(json.dumps(document)) == make_event()


def test_the_document_says_what_was_found() -> None:
    document = json.loads(make_event(3).to_json())
    assert document["captured_at"] == "2026-11-23T04:05:06.120789Z"
    assert document["id"] == "top-20261123T040506120789Z-3"
    assert (document["score"], document["threshold"]) == (0.912346, 0.5)
    assert document["image"]["frame_key"] is None
    assert (document["image"]["width"], document["image"]["height"]) == (64, 48)
    (place,) = document["regions"]
    assert [place[side] for side in ("x", "y", "width", "height")] == [3, 4, 10, 20]
    assert (place["centroid"], place["peak"]) == ([8.12, 14.5], 0.9877)
    assert document["explanation"] == {
        "method": "faster-score-cam",
        "max_n": 10,
        "outcome": "full",
        "localised": True,
        "reason": None,
    }
    assert document["latency"] == {"capture": 0.001235, "classify": 0.016}


def test_a_frame_without_a_place_says_why() -> None:
    finding = make_finding(regions=False)
    ask = {"model_name": "m", "model_sha256": "0" * 64}
    assert build_event(finding, **ask).explanation.reason == "no heat above the threshold"
    flat = replace(finding, explanation=replace(finding.explanation, reason="the heat is zero everywhere"))
    event = build_event(flat, **ask)
    assert (event.explanation.localised, event.explanation.reason) == (False, "the heat is zero everywhere")


@given(st.text(min_size=1), times, numbers)
def test_an_id_is_safe_in_a_key_and_as_a_file_name(camera: str, at: datetime, number: int) -> None:
    identity = event_id(camera, at, number)
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,200}", identity)


@given(st.tuples(st.text("ab-_~. /é{", min_size=1, max_size=4), times, st.integers(0, 12)), st.data())
def test_different_frames_have_different_ids(first: tuple[str, datetime, int], data: st.DataObject) -> None:
    second = (
        data.draw(st.just(first[0]) | st.text("ab-_~. /é{", min_size=1, max_size=4)),
        data.draw(st.just(first[1]) | times),
        data.draw(st.just(first[2]) | st.integers(0, 12)),
    )
    assert (event_id(*first) == event_id(*second)) == (first == second)


@given(times, offsets, numbers)
def test_an_id_does_not_depend_on_the_time_zone(at: datetime, zone: timezone, number: int) -> None:
    assert event_id("top", at.astimezone(zone), number) == event_id("top", at, number)
    assert format_timestamp(at.astimezone(zone)) == format_timestamp(at)
    assert len(format_timestamp(at)) == len("2026-11-23T04:05:06.000000Z")


def test_all_keys_lie_below_the_prefix() -> None:
    keys = RedisKeys("{line1}")
    assert keys.has_hash_tag
    assert [keys.events, keys.coverage, keys.frame("e"), keys.raw("e"), keys.live("top")] == [
        "{line1}:events",
        "{line1}:coverage",
        "{line1}:frame:e",
        "{line1}:raw:e",
        "{line1}:live:top",
    ]


@pytest.mark.parametrize("prefix", ["defects", "{}line", "}{", "{line"])
def test_a_prefix_without_a_hash_tag_is_known_for_one(prefix: str) -> None:
    assert not RedisKeys(prefix).has_hash_tag


@pytest.mark.parametrize("prefix", ["", "a b", "a\n", "é", "x" * 65])
def test_a_prefix_that_cannot_begin_a_key_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="prefix"):
        RedisKeys(prefix)


def test_a_document_holds_no_key_of_any_sink() -> None:
    message = EventMessage.of(make_event(), make_jpeg(), make_jpeg())
    image = Event.from_json(message.document).image
    assert (image.frame_key, image.raw_key) == (None, None)
    bare = message.without_images()
    assert (bare.annotated_jpeg, bare.raw_jpeg, bare.image_bytes) == (None, None, 0)
    assert (bare.document, bare.id) == (message.document, message.id)


@given(st.binary(max_size=20))
def test_a_notice_of_any_file_name_can_be_encoded(name: bytes) -> None:
    detail = name.decode("utf-8", "surrogateescape")
    notice = NoticeMessage.of(CameraStateChange("top", "down", BEGIN, "unreadable", detail))
    "".join(value for _, value in notice.fields).encode("utf-8")
    finding = make_finding()
    frame = replace(finding.frame, source_name=detail)
    event = build_event(replace(finding, frame=frame), model_name="m", model_sha256="0" * 64)
    assert Event.from_json(event.to_json()) == event


def test_coverage_is_text_fields() -> None:
    gap = Gap("top", 5, 9, BEGIN, BEGIN + timedelta(seconds=1), 5, "overload")
    assert gap_entry(gap) == {
        "kind": "gap",
        "camera": "top",
        "first": "5",
        "last": "9",
        "from": "2026-11-23T04:05:06.000789Z",
        "to": "2026-11-23T04:05:07.000789Z",
        "frames": "5",
        "numbers": "5-9",
        "cause": "overload",
    }
    change = CameraStateChange("top", "down", BEGIN, "timeout", "no frame for 5 s")
    assert state_entry(change) == {
        "kind": "camera",
        "camera": "top",
        "state": "down",
        "at": "2026-11-23T04:05:06.000789Z",
        "cause": "timeout",
        "detail": "no frame for 5 s",
    }
    assert NoticeMessage.of(gap).id == NoticeMessage.of(replace(gap)).id
    assert NoticeMessage.of(gap).id != NoticeMessage.of(replace(gap, last=10)).id
