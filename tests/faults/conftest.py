"""How often each fault is made, and the table of what came of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import pytest

from tests.support.camera_faults import FULL_RUN, FaultResult
from tests.support.events import DeliveryTally
from tests.support.fault_tables import CAMERA_TABLE, GROWTH_TABLE, TABLE, Record, RecordCamera, RecordGrowth
from tests.support.redis_servers import make_server, program

__all__ = ["FULL_RUN", "make_server", "program"]


CAMERA_HEAD = (
    "| fault | times | back after: median | worst | frames lost: median | worst | causes told |\n"
    "|---|--:|--:|--:|--:|--:|---|\n"
)


GROWTH_HEAD = "| after | files | threads | shared memories | resident MB |\n|---|---|---|---|---|\n"


HEAD = "| fault | events found | received once | lost | doubled |\n|---|---:|---:|---:|---:|\n"


@pytest.fixture(scope="session")
def times() -> Callable[[int, int], int]:
    """The first number in the tests, the second in `make faults`."""
    return lambda short, long: long if FULL_RUN else short


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """Adds a row to the table, in place of the one that an earlier long run wrote for the same fault."""
    rows: dict[str, str] = {}

    def add(fault: str, seen: DeliveryTally) -> None:
        rows[fault] = f"| {fault} | {seen.found} | {seen.once} | {seen.lost} | {seen.doubled} |\n"

    yield add
    _write(TABLE, HEAD, rows)


@pytest.fixture(scope="session")
def record_camera() -> Iterator[RecordCamera]:
    """Adds a row to the cameras' table, likewise."""
    rows: dict[str, str] = {}

    def add(fault: str, rounds: Sequence[FaultResult]) -> None:
        after, lost = [one.recovery for one in rounds], [one.lost for one in rounds]
        causes = ", ".join(sorted({cause for one in rounds for cause in one.causes}))
        rows[fault] = (
            f"| {fault} | {len(rounds)} | {median(after):.1f} s | {max(after):.1f} s "
            f"| {median(lost):.0f} | {max(lost)} | {causes} |\n"
        )

    yield add
    _write(CAMERA_TABLE, CAMERA_HEAD, rows)


@pytest.fixture(scope="session")
def record_growth() -> Iterator[RecordGrowth]:
    """Adds what was held before and after to a table of its own, likewise."""
    rows: dict[str, str] = {}

    def add(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        cells = [f"{before[name]} → {after[name]}" for name in ("files", "threads", "rings")]
        memory = f"{before['memory'] / 1024:.1f} → {after['memory'] / 1024:.1f}"
        rows[what] = f"| {what} | {' | '.join(cells)} | {memory} |\n"

    yield add
    _write(GROWTH_TABLE, GROWTH_HEAD, rows)


def _write(table: Path, head: str, rows: dict[str, str]) -> None:
    if FULL_RUN and rows:
        table.parent.mkdir(exist_ok=True)
        before = table.read_text().splitlines(keepends=True)[2:] if table.exists() else []
        table.write_text(head + "".join(({row.split(" | ")[0][2:]: row for row in before} | rows).values()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"
