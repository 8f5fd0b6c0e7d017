"""The AsyncAPI document of all that a subscriber can read, as it ships beside this module.

Regenerate after a change of a document: `python -m monitor.redis_streams.asyncapi`.
"""

from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from monitor.events.coverage import coverage_schema
from monitor.events.event import Event
from monitor.events.incidents import IncidentReport
from monitor.events.labels import Label
from monitor.events.samples import Sample
from monitor.events.schemas import schema_text
from monitor.events.verdicts import VerdictBatch
from monitor.redis_streams.keys import RedisKeys

ASYNCAPI_FILE = Path(__file__).with_name("asyncapi.json")


_REF = "#/components/schemas/{model}"


_TEXT = {"type": "string"}


def asyncapi() -> dict[str, Any]:
    """The document, AsyncAPI 3.0.0, for the default prefix."""
    keys = RedisKeys()
    _, defined = models_json_schema(
        [(model, "serialization") for model in (Event, IncidentReport, VerdictBatch, Sample, Label)],
        ref_template=_REF,
    )
    channels = {
        "events": _channel(keys.events, "event", "Stream: every flagged frame, in the order of its camera."),
        "live": {
            **_channel(keys.live("{camera}"), "event", "Channel: the same documents for plain SUBSCRIBE."),
            "parameters": {"camera": {"description": "The camera's name in the settings."}},
        },
        "incidents": _channel(keys.incidents, "incident", "Stream: starts and ends of incidents."),
        "coverage": _channel(
            keys.coverage, "coverage", "Stream: what was not inspected or is lost, and why."
        ),
        "verdicts": _channel(
            keys.verdicts, "verdicts", "Stream: the outcome of every frame, where `verdicts.publish` is set."
        ),
        "samples": _channel(
            keys.samples, "sample", "Stream: frames kept for learning, where `samples.publish` is set."
        ),
        "labels": _channel(
            keys.labels, "label", "Stream: what people answer about frames; programs may add to it."
        ),
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "defect-monitor",
            "version": "1",
            "license": {"name": "MIT"},
            "description": (
                "What the daemon publishes in Redis or Valkey. A stream's entry has text fields: those "
                "named as headers, and the payload, which is JSON in the field named after the message. An "
                "entry of the coverage stream is its fields alone. Images are in the keys that an event "
                "(JPEG) or a sample (PNG) names."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {"redis": {"host": "127.0.0.1:6379", "protocol": "redis"}},
        "channels": channels,
        "operations": {
            f"publish-{name}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
            for name in channels
        },
        "components": {
            "messages": {
                "event": _message("Event", "One flagged frame.", "id", "camera"),
                "incident": _message("IncidentReport", "An incident's start or end.", "id", "camera"),
                "verdicts": _message("VerdictBatch", "Consecutive frames of one camera.", "camera"),
                "sample": _message("Sample", "A frame kept for learning.", "id", "camera"),
                "label": _message("Label", "A person's answer about a frame.", "id", "camera"),
                "coverage": _message(
                    "Coverage", "A gap, a camera's change of state, what was dropped, or a conflict of names."
                ),
            },
            "schemas": {**defined["$defs"], "Coverage": coverage_schema()},
        },
    }


def _channel(address: str, message: str, description: str) -> dict[str, Any]:
    messages = {message: {"$ref": f"#/components/messages/{message}"}}
    return {"address": address, "description": description, "messages": messages}


def _message(schema: str, summary: str, *headers: str) -> dict[str, Any]:
    message: dict[str, Any] = {"summary": summary, "payload": {"$ref": _REF.format(model=schema)}}
    if headers:
        message["headers"] = {"type": "object", "properties": dict.fromkeys(headers, _TEXT)}
    return message


if __name__ == "__main__":
    ASYNCAPI_FILE.write_text(schema_text(asyncapi()), encoding="utf-8")
