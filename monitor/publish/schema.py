"""The event document's JSON Schema, as it ships beside this module.

Written anew after a change of the document by `python -m monitor.publish.schema`.
"""

import json
from pathlib import Path
from typing import Any

from monitor.publish.document import Event

SCHEMA_FILE = Path(__file__).with_name("event.schema.json")


def event_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that every published event is valid against."""
    schema = Event.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Event, version 1"}


def schema_text() -> str:
    """The shipped file's text."""
    return json.dumps(event_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
