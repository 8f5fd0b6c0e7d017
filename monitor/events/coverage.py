"""What was not inspected or not stored, as the flat text fields of a `coverage` stream entry.

Every entry has `kind` and `camera`; `coverage_schema` describes the fields of each kind. Times are RFC 3339.

Each frame number of a camera has exactly one outcome: *defect* if an event has it, *not inspected* if it is
in the `numbers` of a `gap`, otherwise *clean*. No number is in two gaps, or in a gap and an event. Only a
frame in the `numbers` of a `shed` entry, or between its times where it has none, may have been a defect.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor.events.event import format_timestamp
from monitor.records import CameraStateChange, Gap, NumberRanges


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the outbox dropped of one camera, between two moments, for one cause.

    `numbers` hold the frames whose events are among it, `verdict_numbers` those whose verdicts are.
    """

    camera: str
    pictures: int
    events: int
    notices: int
    started_at: datetime
    ended_at: datetime
    cause: str = "outbox-full"
    detail: str | None = None
    verdicts: int = 0
    numbers: NumberRanges = ()
    verdict_numbers: NumberRanges = ()


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Another daemon uses the camera's name, from a moment on; `other` None: no longer."""

    camera: str
    daemon: str
    other: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RecipeChange:
    """The line makes the product of another recipe from a moment on; None stands for no recipe."""

    recipe: str | None
    previous: str | None
    at: datetime

    @property
    def camera(self) -> str:
        """Stands for all cameras."""
        return "*"


def gap_entry(gap: Gap) -> dict[str, str]:
    """Return the entry of frames that were not inspected."""
    return _present(
        kind="gap",
        camera=gap.camera,
        first=None if gap.first is None else str(gap.first),
        last=None if gap.last is None else str(gap.last),
        since=format_timestamp(gap.started_at),
        to=format_timestamp(gap.ended_at),
        frames=str(gap.frames),
        numbers=format_numbers(gap.numbers) or None,
        cause=gap.cause,
        detail=gap.detail,
    )


def format_numbers(ranges: NumberRanges) -> str:
    """Format frame numbers as a `gap` holds them: `812-815,829`."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def parse_numbers(text: str) -> Iterator[int]:
    """Yield each frame number of a gap's `numbers`, in ascending order. Raises ValueError for other text."""
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def state_entry(change: CameraStateChange) -> dict[str, str]:
    """Return the entry of a camera's change of state."""
    return _present(
        kind="camera",
        camera=change.camera,
        state=change.state,
        at=format_timestamp(change.at),
        cause=change.cause,
        detail=change.detail,
    )


def dropped_entry(shed: Dropped) -> dict[str, str]:
    """Return the entry of what the outbox dropped."""
    return _present(
        kind="shed",
        camera=shed.camera,
        pictures=str(shed.pictures),
        events=str(shed.events),
        notices=str(shed.notices),
        verdicts=str(shed.verdicts) if shed.verdicts else None,
        numbers=format_numbers(shed.numbers) or None,
        verdict_numbers=format_numbers(shed.verdict_numbers) or None,
        since=format_timestamp(shed.started_at),
        to=format_timestamp(shed.ended_at),
        cause=shed.cause,
        detail=shed.detail,
    )


def conflict_entry(clash: NameConflict) -> dict[str, str]:
    """Return the entry of a name that two daemons use."""
    return _present(
        kind="clash",
        camera=clash.camera,
        state="over" if clash.other is None else "begun",
        at=format_timestamp(clash.at),
        daemon=clash.daemon,
        other=clash.other,
    )


def recipe_entry(change: RecipeChange) -> dict[str, str]:
    """Return the entry of a change of the recipe."""
    return _present(
        kind="recipe",
        camera=change.camera,
        at=format_timestamp(change.at),
        recipe=change.recipe,
        previous=change.previous,
    )


def _present(**fields: str | None) -> dict[str, str]:
    """Return only the fields that have a value; `since` stands for `from`, a reserved word of Python."""
    return {
        ("from" if name == "since" else name): value for name, value in fields.items() if value is not None
    }


_TIME = "RFC 3339 in UTC"
_CAMERA = {"camera": "name of the camera; `*` where it is not known, or for all"}
_REASON = {"cause": "one word", "detail": "one sentence"}
_KINDS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "gap": (
        {
            "from": _TIME,
            "to": _TIME,
            "frames": "how many frames were not inspected; 0 while a camera delivers none",
            "cause": "one word, such as `overload` or `damaged`; for `lost-upstream` `frames` is an estimate",
        },
        {
            "first": "lowest of the frame numbers",
            "last": "highest of the frame numbers; not all in between need be part of the gap",
            "numbers": "exactly these frames: numbers and ranges, both ends included, such as `812-815,829`",
            "detail": "one sentence, of the first of these frames",
        },
    ),
    "camera": ({"state": "state of the camera", "at": _TIME}, _REASON),
    "shed": (
        {
            "pictures": "images that the outbox dropped",
            "events": "events that the outbox dropped",
            "notices": "entries of this stream that the outbox dropped",
            "from": _TIME,
            "to": _TIME,
            "cause": "`outbox-full`, `outbox-too-old`, `outbox-damaged`, `outbox-set-aside`, or "
            "`picture-withheld`: events went to Redis without images, as there was no room for them",
        },
        {
            "verdicts": "frames whose verdicts the outbox dropped",
            "numbers": "frames whose events were dropped, as in a gap; of more than 500 ranges neighbours "
            "are joined, so that frames in between are included",
            "verdict_numbers": "frames whose verdicts were dropped, in the same form",
            "detail": "one sentence",
        },
    ),
    "clash": (
        {"state": "`begun` or `over`", "at": _TIME, "daemon": "the daemon that reports"},
        {"other": "the other daemon that has a camera of this name"},
    ),
    "recipe": (
        {"at": _TIME},
        {
            "recipe": "recipe in force from `at` on; absent: none",
            "previous": "recipe until then; absent: none, or the daemon has just started",
        },
    ),
}


def coverage_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every entry of the coverage stream is valid against."""
    return {"type": "object", "oneOf": [_kind_schema(kind, *fields) for kind, fields in _KINDS.items()]}


def _kind_schema(kind: str, required: dict[str, str], optional: dict[str, str]) -> dict[str, Any]:
    fields = {**_CAMERA, **required, **optional}
    described: dict[str, Any] = {name: {"type": "string", "description": fields[name]} for name in fields}
    for name in {"frames", "first", "last", "pictures", "events", "notices", "verdicts"} & set(fields):
        described[name]["pattern"] = "^[0-9]+$"
    for name in {"numbers", "verdict_numbers"} & set(fields):
        described[name]["pattern"] = "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$"
    return {
        "title": kind,
        "type": "object",
        "required": ["kind", *_CAMERA, *required],
        "properties": {"kind": {"const": kind}, **described},
        "additionalProperties": False,
    }
