"""The outcomes of the last minutes, second by second, from the streams of verdicts, events and coverage."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from monitor.redis_streams.history import HistoryEntry, StreamHistory

SECONDS = 300
"""Length of the strip in seconds."""

_MIN_INTERVAL = 0.5
"""Seconds between two reads, however many pages ask."""


@dataclass(slots=True)
class SecondOutcomes:
    """What became of the frames of one second: counts, the highest score, and the cause of most losses."""

    clean: int = 0
    flagged: int = 0
    lost: int = 0
    score: float = 0.0
    cause: str | None = None


class StripSecond(NamedTuple):
    """One second of the strip; `age` counts back from the present one."""

    age: int
    outcomes: SecondOutcomes


class VerdictLog:
    """Reads what is new in the streams whenever it is asked; keeps the last five minutes. Any thread.

    With `has_verdicts` every frame is known. Without, clean frames are not: only flagged and lost ones are.
    """

    def __init__(self, history: StreamHistory, *, has_verdicts: bool) -> None:
        self.has_verdicts = has_verdicts
        keys = history.keys
        self._history = history
        self._verdicts = keys.verdicts
        self._streams = [self._verdicts] if has_verdicts else [keys.events, keys.coverage]
        self._last_read: dict[str, str] = {}
        self._read_at = float("-inf")
        self._seconds: dict[str, dict[int, SecondOutcomes]] = {}
        self._lock = threading.Lock()

    def strip(self, camera: str, now: datetime) -> list[StripSecond]:
        """Return the seconds of the last five minutes with an outcome. Raises DeliveryError."""
        with self._lock:
            if time.monotonic() - self._read_at >= _MIN_INTERVAL:
                self._read(now)
                self._read_at = time.monotonic()
            latest = int(now.timestamp())
            found = self._seconds.get(camera, {})
            return [
                StripSecond(latest - second, outcomes)
                for second, outcomes in sorted(found.items())
                if 0 <= latest - second < SECONDS
            ]

    def _read(self, now: datetime) -> None:
        begin = int((now - timedelta(seconds=SECONDS)).timestamp() * 1000)
        for stream in self._streams:
            last = self._last_read.get(stream, "0-0")
            if int(last.split("-")[0]) < begin:  # nobody has looked for a while
                last = f"{begin}-0"
            for entry in self._history.all_between(stream, f"({last}"):
                self._last_read[stream] = entry.id
                try:
                    self._take(stream, entry)
                except (KeyError, ValueError, TypeError):
                    continue  # an entry of a form not known here
        for seconds in self._seconds.values():
            for second in [second for second in seconds if 1000 * second < begin]:
                del seconds[second]

    def _take(self, stream: str, entry: HistoryEntry) -> None:
        fields = entry.fields
        if stream == self._verdicts:
            for verdict in json.loads(fields["verdicts"])["verdicts"]:
                self._take_verdict(fields["camera"], verdict, entry.added_at)
        elif stream == self._history.keys.events:
            event = json.loads(fields["event"])
            self._add_flagged(str(event["camera"]), _time(event["captured_at"]), float(event["score"]))
        elif fields["kind"] == "gap":
            lost = max(1, int(fields["frames"]))  # a time without frames is a loss, too
            begin, end = (datetime.fromisoformat(fields[name]) for name in ("from", "to"))
            self._add_lost(fields["camera"], begin, end, lost, fields["cause"])

    def _take_verdict(self, camera: str, verdict: Mapping[str, object], added_at: datetime) -> None:
        at = _time(verdict["captured_at"]) if verdict.get("captured_at") else added_at
        first = int(str(verdict["frame_number"]))
        count = int(str(verdict.get("last_number") or first)) - first + 1
        match verdict["outcome"]:
            case "clean":
                outcomes = self._second(camera, at)
                outcomes.clean += count
                outcomes.score = max(outcomes.score, float(str(verdict.get("score") or 0)))
            case "defect":
                self._add_flagged(camera, at, float(str(verdict.get("score") or 0)))
            case outcome:
                self._add_lost(camera, at, at, count, str(verdict.get("cause") or outcome))

    def _add_flagged(self, camera: str, at: datetime, score: float) -> None:
        outcomes = self._second(camera, at)
        outcomes.flagged += 1
        outcomes.score = max(outcomes.score, score)

    def _add_lost(self, camera: str, begin: datetime, end: datetime, frames: int, cause: str) -> None:
        """Spread lost frames evenly over the seconds that the loss lasted, at most the last five minutes."""
        last = int(end.timestamp())
        seconds = range(max(int(begin.timestamp()), last - SECONDS), last + 1)
        each, rest = divmod(frames, len(seconds))
        for index, second in enumerate(seconds):
            outcomes = self._seconds.setdefault(camera, {}).setdefault(second, SecondOutcomes())
            outcomes.lost += each + (index < rest)
            outcomes.cause = cause

    def _second(self, camera: str, at: datetime) -> SecondOutcomes:
        seconds = self._seconds.setdefault(camera, {})
        return seconds.setdefault(int(at.timestamp()), SecondOutcomes())


def _time(text: object) -> datetime:
    at = datetime.fromisoformat(str(text))
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
