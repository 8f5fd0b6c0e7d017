"""What was not inspected or is lost, as the flat text fields of a `coverage` stream entry.

Every entry has `kind` and `camera`; `cause` and `detail` where known. Times are RFC 3339.

- `gap`: `from`, `to`, `frames`, and `first`, `last` (frame numbers) where frames were lost; while a camera
  delivers nothing, `frames` is 0.
- `camera`: `state`, `at`.
- `shed`: how many `pictures`, `events`, `notices` the outbox lost; `from` and `to` are the capture times of
  the first and last. Causes: `outbox-full`, `outbox-too-old`, `outbox-set-aside` (a sink never takes them),
  `outbox-damaged` (camera `*` where it is not known, and `from` is then the earliest possible time),
  `picture-withheld` (events went to Redis without their images, because it had no room for them).
- `clash`: `state` (`begun` or `over`), `at`, `daemon` and, when begun, `other`: another daemon watches a
  camera of the same name.
"""

from dataclasses import dataclass
from datetime import datetime

from monitor.events.event import format_timestamp
from monitor.records import CameraStateChange, Gap


@dataclass(frozen=True, slots=True)
class Dropped:
    """What the outbox lost of one camera for one cause, with the capture times of the first and last."""

    camera: str
    pictures: int
    events: int
    notices: int
    started_at: datetime
    ended_at: datetime
    cause: str = "outbox-full"
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Another daemon has the camera's name, from a moment on; `other` None: no longer."""

    camera: str
    daemon: str
    other: str | None
    at: datetime


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
        cause=gap.cause,
        detail=gap.detail,
    )


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
    """Return the entry of what the outbox lost."""
    return _present(
        kind="shed",
        camera=shed.camera,
        pictures=str(shed.pictures),
        events=str(shed.events),
        notices=str(shed.notices),
        since=format_timestamp(shed.started_at),
        to=format_timestamp(shed.ended_at),
        cause=shed.cause,
        detail=shed.detail,
    )


def conflict_entry(clash: NameConflict) -> dict[str, str]:
    """Return the entry of a name that two daemons have."""
    return _present(
        kind="clash",
        camera=clash.camera,
        state="over" if clash.other is None else "begun",
        at=format_timestamp(clash.at),
        daemon=clash.daemon,
        other=clash.other,
    )


def _present(**fields: str | None) -> dict[str, str]:
    """Return only the fields that have a value; `since` stands for `from`, which Python keeps for itself."""
    return {
        ("from" if name == "since" else name): value for name, value in fields.items() if value is not None
    }
