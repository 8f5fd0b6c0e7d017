"""The JSON Schemas of what is published, as they ship beside this module.

Regenerate after a change of a document: `python -m monitor.events.schemas`.
"""

import json
from pathlib import Path
from typing import Any

from monitor.events.coverage import coverage_schema
from monitor.events.event import Document, Event
from monitor.events.incidents import IncidentReport
from monitor.events.labels import Label
from monitor.events.samples import Sample
from monitor.events.verdicts import VerdictBatch

SCHEMA_FILE = Path(__file__).with_name("event.schema.json")


INCIDENT_SCHEMA_FILE = Path(__file__).with_name("incident.schema.json")


COVERAGE_SCHEMA_FILE = Path(__file__).with_name("coverage.schema.json")


VERDICTS_SCHEMA_FILE = Path(__file__).with_name("verdicts.schema.json")


SAMPLE_SCHEMA_FILE = Path(__file__).with_name("sample.schema.json")


LABEL_SCHEMA_FILE = Path(__file__).with_name("label.schema.json")


def event_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that every published event is valid against."""
    return _schema(Event, "Event, version 1")


def incident_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of what the stream of incidents holds."""
    return _schema(IncidentReport, "Incident, version 1")


def coverage_stream_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the entries of the coverage stream."""
    schema = coverage_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Coverage, version 1",
    }


def verdicts_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of what the stream of verdicts holds."""
    return _schema(VerdictBatch, "Verdicts, version 1")


def sample_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of what the stream of samples holds."""
    return _schema(Sample, "Sample, version 1")


def label_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12) of what the stream of labels holds."""
    return _schema(Label, "Label, version 1")


def schema_text(schema: dict[str, Any]) -> str:
    """A shipped file's text."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _schema(document: type[Document], title: str) -> dict[str, Any]:
    schema = document.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(event_schema()), encoding="utf-8")
    INCIDENT_SCHEMA_FILE.write_text(schema_text(incident_schema()), encoding="utf-8")
    COVERAGE_SCHEMA_FILE.write_text(schema_text(coverage_stream_schema()), encoding="utf-8")
    VERDICTS_SCHEMA_FILE.write_text(schema_text(verdicts_schema()), encoding="utf-8")
    SAMPLE_SCHEMA_FILE.write_text(schema_text(sample_schema()), encoding="utf-8")
    LABEL_SCHEMA_FILE.write_text(schema_text(label_schema()), encoding="utf-8")
