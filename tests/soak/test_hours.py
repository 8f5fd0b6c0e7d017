"""Hours of `run` with a fault every minute: the counts add up, memory is flat, the watchdog is quiet.

`make soak-hours HOURS=4` runs it and prints its table. `FAULT_SECONDS` (60) is the time from one fault to the
next, `SEED` repeats an order of faults, `FPS` (3) is the rate of the streams: 1 leaves a slow machine time
for other work. What is not recovered from is listed at the end, with its time.
"""

import os
import random
import subprocess
import time
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from monitor.tools.bench.daemon_process import processor_seconds
from tests.soak.accounts import OUTCOMES, frames_in, readers_of, sample
from tests.soak.audit import FrameCounts, look, totals
from tests.soak.disturbances import DISTURBANCES, Disturb, Recovery, camera_removed, in_turn
from tests.soak.figures import BUILD, DisturbanceResult, SoakReport
from tests.soak.manager import watchdog_seconds
from tests.soak.plant import FPS, SPARED, LineUnderTest, logged_events, plant
from tests.soak.samples import ResourceSampler, Sample
from tests.support.camera_faults import check_gaps
from tests.support.daemon_process import SCHEMA, events_of, wait_for
from tests.support.redis_servers import program
from tests.support.rtsp_server import why_absent

__all__ = ["program"]

HOURS = float(os.environ.get("HOURS", "4"))
PERIOD = float(os.environ.get("FAULT_SECONDS", "60"))
SEED = int(os.environ.get("SEED", random.randrange(10**6)))
LOOK_HOURS = min(0.25, HOURS / 4)
PATIENCE = 45.0
"""Seconds after which a fault counts as not recovered from: far beyond what is promised."""

pytestmark = [pytest.mark.soak, pytest.mark.timeout(HOURS * 3600 + 1800)]


CONNECTIONS = 2
"""To Redis, one for events and one for claims: kept open or not, as the latest fault left them."""


class SoakRun:
    """One run: what was made, what was wrong and when."""

    def __init__(self, plant: LineUnderTest, sampler: ResourceSampler) -> None:
        self.plant, self.sampler, self.books = plant, sampler, FrameCounts()
        self.made: list[DisturbanceResult] = []
        self.failures: list[str] = []
        self.first: Sample | None = None
        """The daemon after each kind of fault was made once: caches and pools are full by then."""
        self.began = time.monotonic()
        self._pick = random.Random(SEED)

    @property
    def elapsed(self) -> float:
        """Seconds since the first frame of all cameras."""
        return time.monotonic() - self.began

    def fail(self, what: str) -> None:
        """Note it with its time, and go on."""
        self.failures.append(f"after {self.elapsed / 60:.1f} min, {datetime.now(UTC):%H:%M:%S}: {what}")
        print(self.failures[-1], flush=True)

    def go_on(self) -> None:
        """A fault each `PERIOD`, a look at the books every `LOOK_HOURS`, to the end or the daemon's."""
        turns, next_look = in_turn(self._pick), LOOK_HOURS * 3600
        while (left := HOURS * 3600 - self.elapsed) > PERIOD and self.plant.alive:
            if self.elapsed >= next_look:
                self.look("a look")
                next_look += LOOK_HOURS * 3600
            time.sleep(min(left, max(0.0, (len(self.made) + 1) * PERIOD - self.elapsed)))
            if self.first is None and len(self.made) >= len(DISTURBANCES) and not self.plant.guests:
                self.first = self.sampler.daemon_now()
            name, disturb = next(turns)
            if disturb is camera_removed:
                self.look("the last look at a camera that goes")
            self.make(name, disturb)
        if self.plant.guests:
            self.make("reload: a camera less", camera_removed)

    def look(self, why: str) -> None:
        """Hold the books against Redis."""
        for wrong in look(self.plant, self.books):
            self.fail(f"{why}: {wrong}")

    def make(self, name: str, disturb: Disturb) -> None:
        """One fault, up to the daemon's recovery, and what it told of it."""
        at, began = self.elapsed, datetime.now(UTC)
        try:
            done = disturb(self.plant, self._pick)
            over = time.monotonic()
            recovery = self._recovery(done, over)
            self.made.append(DisturbanceResult(round(at, 1), name, recovery))
            print(
                f"{began:%H:%M:%S} {name}: {recovery if recovery is None else round(recovery, 1)}", flush=True
            )
            if recovery is None:
                self.fail(f"{name}: not recovered from in {PATIENCE:.0f} s: {self._state()}")
                return
            back = datetime.now(UTC)
            if (wrong := done.wrong()) is not None:
                self.fail(f"{name}: {wrong}")
            if done.told is not None:
                self._hear(done, began, back)
        except Exception as error:  # whatever it is, hours of work go on
            self.fail(f"{name}: {type(error).__name__}: {error}")

    def _recovery(self, done: Recovery, over: float) -> float | None:
        while (waited := time.monotonic() - over) < PATIENCE:
            if done.recovered():
                return waited
            time.sleep(0.1)
        return None

    def _hear(self, done: Recovery, began: datetime, back: datetime) -> None:
        """That the time from the fault to the next picture is told as gaps, for the right cause."""
        time.sleep(2.5)  # a gap is told within a second
        deadline = time.monotonic() + 10
        while not self.plant.delivered() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert done.camera
        assert done.told
        since = began - timedelta(seconds=3)
        # A busy machine drops frames at any time: they are in the books, and no word on this fault.
        gaps = [
            gap
            for gap in self.plant.gaps(done.camera)
            if gap.started_at > since and gap.cause not in {"overload", "late"}
        ]
        check_gaps(done.told, gaps, began, back)

    def _state(self) -> str:
        status, said = self.plant.daemon.get("/readyz")
        return f"{status} {said}"


def processor(plant: LineUnderTest) -> float:
    """Seconds that the daemon and its capture processes, those that are gone too, have used."""
    fields = Path(f"/proc/{plant.daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    gone = sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    running = [plant.daemon.process.pid, *readers_of(plant.daemon).values()]
    return gone + sum(map(processor_seconds, running))


def what_came(plant: LineUnderTest) -> dict[str, int]:
    """The events that the daemon said in its log, and what Redis has of them."""
    said, events = logged_events(plant.log_from()), events_of(plant.redis.url)
    stored = Counter(event["id"] for event in events)
    schema = jsonschema.validators.validator_for(SCHEMA)(SCHEMA, format_checker=jsonschema.FormatChecker())
    return {
        "said": len(said),
        "once": sum(stored[one] == 1 for one in said),
        "lost": sum(stored[one] == 0 for one in said),
        "doubled": sum(count > 1 for count in stored.values()),
        "unsaid": len(set(stored) - set(said)),
        "invalid": sum(not schema.is_valid(event) for event in events),
    }


def stopped(hours: SoakRun) -> None:
    """End the daemon as its manager would."""
    try:
        code = hours.plant.daemon.stop()
    except subprocess.TimeoutExpired:
        hours.fail("SIGTERM did not end it in 10 s")
    else:
        if code:
            hours.fail(f"it ended with exit code {code}")


def test_hours_of_faults(tmp_path: Path, program: Path) -> None:
    if reason := why_absent():
        pytest.skip(reason)
    print(
        f"SEED={SEED} HOURS={HOURS:g} FAULT_SECONDS={PERIOD:g} FPS={FPS}, log {tmp_path}/line.log", flush=True
    )
    with plant(tmp_path, program) as line:
        line.daemon.ready()
        wait_for(lambda: all(frames_in(line.page(), name) > 3 for name in line.cameras), 120, line.daemon)
        with ResourceSampler(line.daemon, BUILD / "hours.csv") as sampler:
            hours, used = SoakRun(line, sampler), processor(line)
            hours.go_on()
            if line.alive:
                time.sleep(5)
                last = sampler.daemon_now()
                hours.look("the last look")
                took, used = hours.elapsed, processor(line) - used
        assert line.alive, line.log_from()[-5000:]
        assert hours.first, "a run must be long enough for each kind of fault"
        page = line.page()
        stopped(hours)
        log = line.log_from()
        figures = SoakReport(
            seed=SEED,
            hours=took / 3600,
            made=hours.made,
            looks=hours.books.looks,
            frames=totals(hours.books),
            events=what_came(line),
            outbox=int(sample(page, "outbox_events")),
            watchdog={"longest": line.manager.longest_pause, "limit": watchdog_seconds()},
            told=dict(sorted(line.manager.told.items())),
            growth=list(sampler.growth(took / 3600)),
            typical=sampler.typical(),
            daemon={"first": asdict(hours.first), "last": asdict(last)},
            processor=used / took,
            failures=hours.failures,
        )
        (BUILD / "hours.log").write_text(log)
        print("\n" + figures.write(), flush=True)
    claims(figures, log, hours.books)


def claims(figures: SoakReport, log: str, books: FrameCounts) -> None:
    """What tests/faults/README.md promises of such a run."""
    events, reloads = figures.events, sum(one.name.startswith("reload") for one in figures.made)
    assert not figures.failures
    assert figures.looks >= HOURS / LOOK_HOURS
    assert events["said"] == events["once"] > 0
    assert (events["lost"], events["doubled"], events["unsaid"], events["invalid"]) == (0, 0, 0, 0)
    assert events["said"] >= figures.frames["defect"]
    assert figures.frames["came"] == sum(figures.frames[one] for one in OUTCOMES)
    assert books.counted[SPARED]["dropped"] + books.counted[SPARED]["unusable"] == 0
    assert figures.outbox == 0
    assert figures.watchdog["longest"] < figures.watchdog["limit"]
    assert "watchdog keep-alive withheld" not in log
    assert "thread failed" not in log
    assert "Traceback" not in log
    assert (figures.told["RELOADING=1"], figures.told["READY=1"]) == (reloads, reloads + 1)
    first, last = figures.daemon["first"], figures.daemon["last"]
    assert (last["threads"], last["rings"]) == (first["threads"], first["rings"])
    assert last["files"] <= first["files"] + CONNECTIONS
    assert {one.name for one in figures.growth} >= {"daemon", SPARED}
    assert all(one.flat for one in figures.growth), [one.name for one in figures.growth if not one.flat]
