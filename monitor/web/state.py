"""What is known of the line at this moment: each camera's state, losses and flagged frames of the last hour.

Pure: entries, samples and times go in. Kept in buckets of one minute, so that memory does not grow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from monitor.events.event import Event

MINUTES = 60
"""Minutes that the Line view shows."""

MAX_CAMERAS = 256
"""Cameras that the page knows at most."""

UNOBSERVED = frozenset({"stalled", "frozen", "misconfigured", "down", "paused", "unknown"})
"""States in which nothing that passes the camera is inspected; `unknown`: the daemon does not answer."""


@dataclass(slots=True)
class Loss:
    """What one cause took from one minute: numbered frames, and seconds without any frame."""

    frames: int = 0
    seconds: float = 0.0

    def add(self, other: "Loss") -> None:
        """Add another loss to this one."""
        self.frames += other.frames
        self.seconds += other.seconds


class Gap(NamedTuple):
    """Frames or a time without inspection, as an entry of the coverage stream reports it."""

    started_at: datetime
    ended_at: datetime
    frames: int
    cause: str


class MinuteLosses(NamedTuple):
    """One minute of a coverage bar: the losses by cause, the greatest first."""

    age: int
    losses: tuple[tuple[str, Loss], ...]

    @property
    def is_whole(self) -> bool:
        """Whether half of the minute or more was without inspection."""
        return sum(loss.seconds for _, loss in self.losses) >= 30


class LastHour(NamedTuple):
    """One camera's last hour: see `CameraStatus.coverage`; its losses by cause; counts of flagged frames."""

    coverage: Sequence[MinuteLosses]
    totals: Mapping[str, Loss]
    flagged: int
    unfamiliar: int


@dataclass(slots=True)
class CameraStatus:
    """One camera: `state` since `since` for `cause`; `last_frame_at` and the live frame, if known."""

    name: str
    state: str = "unknown"
    since: datetime | None = None
    cause: str | None = None
    detail: str | None = None
    last_frame_at: datetime | None = None
    live_frame: int | None = None
    live_frame_at: datetime | None = None
    _flagged: dict[int, int] = field(default_factory=dict)
    _unfamiliar: dict[int, int] = field(default_factory=dict)
    _losses: dict[int, dict[str, Loss]] = field(default_factory=dict)

    def add_event(self, event: Event) -> None:
        """Count a flagged frame."""
        minute = _minute(event.captured_at)
        self._flagged[minute] = self._flagged.get(minute, 0) + 1
        if event.familiarity is not None and event.familiarity.unfamiliar:
            self._unfamiliar[minute] = self._unfamiliar.get(minute, 0) + 1

    def add_gap(self, gap: Gap) -> None:
        """Add frames or a time without inspection to the minutes that they lie in."""
        for minute, loss in _spread(gap):
            by_cause = self._losses.setdefault(minute, {})
            if gap.cause == "not-running":  # the daemon's own account of a time in which it did not answer
                by_cause.pop("daemon-away", None)
            elif gap.cause == "daemon-away" and "not-running" in by_cause:
                continue
            by_cause.setdefault(gap.cause, Loss()).add(loss)

    def change_state(self, state: str, at: datetime, cause: str | None, detail: str | None) -> None:
        """Record a change of state; an earlier one is ignored."""
        if self.since is None or at >= self.since:
            self.state, self.since, self.cause, self.detail = state, at, cause, detail

    def forget_before(self, now: datetime) -> None:
        """Drop the minutes that the Line view no longer shows."""
        first = _minute(now) - MINUTES + 1
        for counts in (self._flagged, self._unfamiliar):
            for minute in [minute for minute in counts if minute < first]:
                del counts[minute]
        for minute in [minute for minute in self._losses if minute < first]:
            del self._losses[minute]

    def flagged(self, now: datetime) -> int:
        """Return how many frames were flagged in the last hour."""
        return _recent(self._flagged, now)

    def unfamiliar(self, now: datetime) -> int:
        """Return how many of the flagged frames were unlike the training data."""
        return _recent(self._unfamiliar, now)

    def coverage(self, now: datetime) -> list[MinuteLosses]:
        """Return the minutes of the last hour that were not wholly inspected; `age` 0 is the present one."""
        latest = _minute(now)
        minutes = {
            minute: {cause: Loss(loss.frames, loss.seconds) for cause, loss in losses.items()}
            for minute, losses in self._losses.items()
        }
        for minute, loss in self._ongoing(now):
            minutes.setdefault(minute, {}).setdefault(self.cause or self.state, Loss()).add(loss)
        return [
            MinuteLosses(latest - minute, tuple(sorted(losses.items(), key=_extent, reverse=True)))
            for minute, losses in sorted(minutes.items())
            if 0 <= latest - minute < MINUTES
        ]

    def last_hour(self, now: datetime) -> LastHour:
        """Return what was flagged in the last hour, and what was not inspected."""
        coverage, totals = self.coverage(now), dict[str, Loss]()
        for minute in coverage:
            for cause, loss in minute.losses:
                totals.setdefault(cause, Loss()).add(loss)
        return LastHour(coverage, totals, self.flagged(now), self.unfamiliar(now))

    def _ongoing(self, now: datetime) -> Iterable[tuple[int, Loss]]:
        """Return the losses of an outage that has not ended, which has no entry in the stream yet."""
        if self.state not in UNOBSERVED or self.since is None or self.since >= now:
            return ()
        return _spread(Gap(self.since, now, 0, self.state))


class LineState:
    """All cameras, and whether Redis and the daemon answer. Not locked: the feed's owner does that."""

    def __init__(self, cameras: Iterable[str]) -> None:
        self.cameras = {name: CameraStatus(name) for name in cameras}
        self.redis_problem: str | None = None
        self.page_problem: str | None = None
        self.daemon_problem: str | None = None
        self.degraded: list[str] = []
        self.latest_event_id: str | None = None

    def camera(self, name: str) -> CameraStatus:
        """Return the status of a camera, new if its name was not known.

        Raises ValueError beyond `MAX_CAMERAS`: whoever may write to Redis must not fill the memory.
        """
        if name not in self.cameras:
            if len(self.cameras) >= MAX_CAMERAS:
                raise ValueError(f"more than {MAX_CAMERAS} cameras")
            self.cameras[name] = CameraStatus(name)
        return self.cameras[name]

    def add_coverage(self, fields: Mapping[str, str]) -> None:
        """Take an entry of the coverage stream. Raises KeyError or ValueError for one of unknown form."""
        camera, kind = fields["camera"], fields["kind"]
        if kind == "gap":
            self.camera(camera).add_gap(read_gap(fields))
        elif kind == "camera":
            self.camera(camera).change_state(
                fields["state"],
                datetime.fromisoformat(fields["at"]),
                fields.get("cause"),
                fields.get("detail"),
            )

    def lose_daemon(self, problem: str, at: datetime) -> None:
        """Record that the daemon does not answer: no camera's state is known."""
        self.daemon_problem = problem
        for status in self.cameras.values():
            if status.state != "unknown" or status.since is None:
                status.change_state("unknown", at, "daemon-away", problem)

    def find_daemon(self, states: Mapping[str, str], at: datetime) -> None:
        """Record that the daemon answers, and the states that its metrics report."""
        self.daemon_problem = None
        for name, state in states.items():
            status = self.camera(name)
            if status.state == "unknown":
                if status.since is not None:
                    status.add_gap(Gap(status.since, at, 0, "daemon-away"))
                status.state, status.since, status.cause, status.detail = state, at, None, None
            elif status.state != state:
                status.change_state(state, at, None, None)


def read_gap(fields: Mapping[str, str]) -> Gap:
    """Return the gap of a coverage entry. Raises KeyError or ValueError for one of unknown form."""
    started_at, ended_at = (datetime.fromisoformat(fields[name]) for name in ("from", "to"))
    return Gap(started_at, ended_at, int(fields["frames"]), fields["cause"])


def _minute(at: datetime) -> int:
    return int(at.timestamp() // 60)


def _recent(counts: Mapping[int, int], now: datetime) -> int:
    first = _minute(now) - MINUTES + 1
    return sum(count for minute, count in counts.items() if minute >= first)


def _extent(item: tuple[str, Loss]) -> tuple[float, int]:
    return item[1].seconds, item[1].frames


def _spread(gap: Gap) -> Iterable[tuple[int, Loss]]:
    """Return the losses of a gap by minute, at most those of its last hour; frames count in the last one.

    Only a gap without frame numbers took time from the line: frames that were lost lie between others.
    """
    end = gap.ended_at.timestamp()
    start = max(gap.started_at.timestamp(), end - 60 * MINUTES)
    last = int(end // 60)
    if gap.frames:
        return [(last, Loss(frames=gap.frames))]
    return [
        (minute, Loss(seconds=min(end, 60 * (minute + 1)) - max(start, 60 * minute)))
        for minute in range(int(start // 60), last + 1)
    ]
