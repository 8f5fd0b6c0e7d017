"""A fault made again and again on one camera, and what was said of it held against what was done."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any, Generic, TypeVar

from monitor.capture.backoff import LONGEST
from monitor.records import Gap
from tests.faults.watch import PATIENCE, Place, Seen

LONG = os.environ.get("FAULTS") == "long"
"""Whether this is `make faults`, with all repetitions, rather than the short part in the tests."""

WITHIN = 5.0 if LONG else PATIENCE
"""Seconds after the source's return in which a good frame must come. The short part says nothing of speed."""
STEADY = LONGEST + 0.5
"""Seconds that a camera is well before the next fault: one that flaps is not opened again at once."""
NEAR = timedelta(seconds=1.0 if LONG else 3.0)
"""By how much what is said of a gap may differ from what was done; the short part runs on busy machines."""


Where = TypeVar("Where")


@dataclass(frozen=True)
class Fault(Generic[Where]):
    """When `act` returns, the source is back. A gap must tell one of `causes`, and none beside `also`."""

    name: str
    act: Callable[[Where, int], None]
    causes: set[str]
    also: set[str] = field(default_factory=set)
    settings: dict[str, Any] = field(default_factory=dict)
    interrupts: bool = True
    """Whether the camera must be seen in another state than `up` before it counts as back."""
    direct: bool = False
    """Whether the camera is read without a wire between."""
    unsaid: float = 0.0
    """Seconds without a picture that need not be told: before `silence` is over, a camera is not silent."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Round:
    """What came of a fault made once: seconds from the source's return to a good frame, frames not seen."""

    recovery: float
    lost: int
    causes: tuple[str, ...]
    damaged: int


def one_round(place: Place, fault: Fault[Place], number: int) -> Round:
    """Make the fault, wait for the next good frame, and hold what was said against what was done."""
    watcher, before = place.watcher, place.settled()
    rate, taken = place.server.fps, watcher.seen.index(before) + 1
    began, said, changed = datetime.now(UTC), len(watcher.gaps), len(watcher.changes)
    fault.act(place, number)
    returned, now_rate = time.monotonic(), place.server.fps

    def good(frame: Seen) -> bool:
        # A picture's mark is its time: one from before the return is old, or frozen.
        whole = frame.mark is not None and frame.size == place.server.size
        # What was under way when the fault came is no return.
        again = not fault.interrupts or any(
            change.state != "up" and change.at < frame.at for change in watcher.changes[changed:]
        )
        return again and whole and frame.mark / now_rate > returned - 0.2

    back = watcher.wait_for(good, taken)
    time.sleep(2.5)  # the gap is said with its end, merged with what else a second brings
    between = [frame for frame in watcher.seen[taken:] if frame.number < back.number]
    causes = check_gaps(fault, watcher.gaps[said:], began, back.at)
    unseen = round((back.monotonic - before.monotonic) * rate) - 1
    marked = len({frame.mark for frame in between if frame.mark is not None})
    return Round(
        recovery=back.monotonic - returned,
        lost=max(0, unseen - marked),
        causes=causes,
        damaged=sum(frame.mark is None for frame in between),
    )


def check_gaps(fault: Fault[Any], gaps: list[Gap], began: datetime, back: datetime) -> tuple[str, ...]:
    """That gaps cover the time from the fault to the first good frame, for the right cause; their causes."""
    told = [(gap.cause, str(gap.started_at.time()), str(gap.ended_at.time())) for gap in gaps]
    said = f"{fault}: {began.time()} to {back.time()} was told as {told}"
    assert gaps, said
    causes = {gap.cause for gap in gaps}
    assert causes & fault.causes, said
    assert causes <= fault.causes | fault.also, said
    unsaid = NEAR + timedelta(seconds=fault.unsaid)
    covered = began + unsaid
    for gap in sorted(gaps, key=lambda gap: gap.started_at):
        assert gap.started_at <= covered, f"a hole: {said}"
        covered = max(covered, gap.ended_at + unsaid)
    assert -NEAR <= min(gap.started_at for gap in gaps) - began <= unsaid, said
    assert abs(max(gap.ended_at for gap in gaps) - back) <= NEAR, said
    return tuple(sorted(causes))


def all_rounds(fault: Fault[Place], count: int, together: Barrier) -> list[Round]:
    """The fault again and again on one camera, at moments that have nothing to do with its pictures.

    They begin `together`, when all cameras are up: to start many processes takes a small machine a while.
    """
    pick = random.Random(fault.name)
    rounds = []
    with Place(pick.randrange(1 << 30), direct=fault.direct, **fault.settings) as place:
        place.settled()
        together.wait(PATIENCE)
        for number in range(count):
            time.sleep(pick.uniform(STEADY - 2.5, STEADY - 1.5))
            rounds.append(one_round(place, fault, number))
    return rounds
