"""How often each fault is made, and the table of what came of it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.events import Outcome
from tests.publish.conftest import make_server, program

__all__ = ["make_server", "program"]

LONG = os.environ.get("FAULTS") == "long"
"""Whether this is `make faults`, with all repetitions, rather than the short part in the tests."""

TABLE = Path(__file__).parents[2] / "build" / "faults.md"
HEAD = "| fault | events found | received once | lost | doubled |\n|---|---:|---:|---:|---:|\n"

Record = Callable[[str, Outcome], None]


@pytest.fixture(scope="session")
def times() -> Callable[[int, int], int]:
    """The first number in the tests, the second in `make faults`."""
    return lambda short, long: long if LONG else short


@pytest.fixture(scope="session")
def record() -> Iterator[Record]:
    """Adds a row to the table, in place of the one that an earlier long run wrote for the same fault."""
    rows: dict[str, str] = {}

    def add(fault: str, seen: Outcome) -> None:
        rows[fault] = f"| {fault} | {seen.found} | {seen.once} | {seen.lost} | {seen.doubled} |\n"

    yield add
    if LONG and rows:
        TABLE.parent.mkdir(exist_ok=True)
        before = TABLE.read_text().splitlines(keepends=True)[2:] if TABLE.exists() else []
        TABLE.write_text(HEAD + "".join(({row.split(" | ")[0][2:]: row for row in before} | rows).values()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"
