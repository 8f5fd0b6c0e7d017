"""What was not inspected: a timeline for each camera, and the exact frames and times, to print."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from monitor.redis_streams.history import HistoryEntry, StreamHistory
from monitor.web.context import context
from monitor.web.gallery import Moment
from monitor.web.state import UNOBSERVED, CameraStatus

DEFAULT_HOURS = 8
"""Hours that the view shows: a shift."""

MAX_ENTRIES = 20_000
"""Entries of the coverage stream that one request reads at most."""

_FIRST = datetime(1970, 1, 2, tzinfo=UTC)
_JOIN = timedelta(seconds=2)
_LONGEST = timedelta(minutes=1)


class LossFilter(BaseModel):
    """What the view shows, as its address says it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    camera: str | None = None
    since: Moment | None = None
    until: Moment | None = None

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the first and last moment that is shown, in UTC."""
        until = self.until or now
        since = self.since or max(until, _FIRST) - timedelta(hours=DEFAULT_HOURS)
        return min(since, until), until


@dataclass(frozen=True, slots=True)
class LossRow:
    """Frames or a time of one camera without inspection, or results that were not stored.

    `numbers` lists exactly the frames, as in the coverage stream; empty where no frame arrived.
    """

    camera: str
    cause: str
    started_at: datetime
    ended_at: datetime
    frames: int = 0
    numbers: str = ""
    detail: str | None = None
    dropped_events: int = 0
    is_ongoing: bool = False

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.started_at).total_seconds()


def not_inspected(request: Request) -> Response:
    """Answer the view."""
    page, now = context(request), datetime.now(UTC)
    try:
        query = {name: value for name, value in request.query_params.items() if value}
        wanted = LossFilter.model_validate(query)
    except ValidationError as error:
        raise HTTPException(400) from error
    since, until = wanted.window(now)
    rows, is_complete = read_losses(page.history, wanted, since, until)
    with page.feed.state() as state:
        cameras = sorted(state.cameras)
        rows += ongoing(state.cameras.values(), now) if until == now else []
    if wanted.camera is not None:
        rows = [row for row in rows if row.camera == wanted.camera]
    by_camera: dict[str, list[LossRow]] = {name: [] for name in cameras if wanted.camera in (None, name)}
    for row in sorted(rows, key=lambda row: row.started_at):
        by_camera.setdefault(row.camera, []).append(row)
    return page.renderer.page(
        request,
        "not_inspected.html",
        view="coverage",
        wanted=wanted,
        cameras=cameras,
        by_camera=by_camera,
        since=since,
        until=until,
        is_complete=is_complete,
        printed_at=now,
    )


def read_losses(
    history: StreamHistory, wanted: LossFilter, since: datetime, until: datetime
) -> tuple[list[LossRow], bool]:
    """Return the losses between two moments, and whether all entries of that time were read.

    An entry is added after the loss that it reports, so reading begins at `since`.
    """
    rows: list[LossRow] = []
    start = str(max(0, int(since.timestamp() * 1000)))
    for count, entry in enumerate(history.all_between(history.keys.coverage, start), start=1):
        row = _read_row(entry)
        if row is not None and row.started_at <= until and row.ended_at >= since:
            rows.append(row)
        if count == MAX_ENTRIES:
            return join_losses(rows), False
    return join_losses(rows), True


def join_losses(rows: Iterable[LossRow]) -> list[LossRow]:
    """Return the rows with those of one camera and cause that follow each other within 2 s as one.

    A row with frames takes a minute at most, so that its times say where to look. No frame is lost or counted
    twice: numbers and counts of joined rows are theirs together.
    """
    joined: list[LossRow] = []
    latest: dict[tuple[str, str, str | None], int] = {}
    for row in sorted(rows, key=lambda row: row.started_at):
        key = row.camera, row.cause, row.detail
        index = latest.get(key)
        before = joined[index] if index is not None else None
        if index is not None and before is not None and _belongs(before, row):
            joined[index] = replace(
                before,
                ended_at=max(before.ended_at, row.ended_at),
                frames=before.frames + row.frames,
                numbers=_join_numbers(before.numbers, row.numbers),
                dropped_events=before.dropped_events + row.dropped_events,
            )
        else:
            latest[key] = len(joined)
            joined.append(row)
    return joined


def _belongs(before: LossRow, row: LossRow) -> bool:
    is_short = not row.frames or row.ended_at - before.started_at <= _LONGEST
    return row.started_at - before.ended_at <= _JOIN and is_short


def _join_numbers(before: str, after: str) -> str:
    """Return two lists of frame numbers as one; ranges that adjoin become one."""
    head, _, last = before.rpartition(",")
    first, _, tail = after.partition(",")
    if last and first and int(first.split("-")[0]) == int(last.split("-")[-1]) + 1:
        last, first = f"{last.split('-')[0]}-{first.split('-')[-1]}", ""
    return ",".join(filter(None, (head, last, first, tail)))


def ongoing(cameras: Iterable[CameraStatus], now: datetime) -> list[LossRow]:
    """Return a row for each camera of which nothing is inspected now: the stream reports it when it ends."""
    return [
        LossRow(
            it.name, it.cause or it.state, it.since, max(it.since, now), detail=it.detail, is_ongoing=True
        )
        for it in cameras
        if it.state in UNOBSERVED and it.since is not None
    ]


def _read_row(entry: HistoryEntry) -> LossRow | None:
    """Return the row of an entry; None for a change of state, and for what is not readable."""
    fields = entry.fields
    try:
        times = datetime.fromisoformat(fields["from"]), datetime.fromisoformat(fields["to"])
        if fields["kind"] == "gap":
            frames, numbers = int(fields["frames"]), fields.get("numbers", "")
            return LossRow(fields["camera"], fields["cause"], *times, frames, numbers, fields.get("detail"))
        if fields["kind"] == "shed" and int(fields["events"]):
            return LossRow(fields["camera"], fields["cause"], *times, dropped_events=int(fields["events"]))
    except (KeyError, ValueError):
        pass
    return None
