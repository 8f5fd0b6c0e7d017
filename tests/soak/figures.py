"""What hours of disturbances came to, as JSON and as the table that tests/faults/README.md quotes."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.soak.samples import Growth
from tests.support import ROOT

BUILD = ROOT / "build"


@dataclass(frozen=True, slots=True)
class DisturbanceResult:
    """One disturbance: when it was made, and the seconds until the daemon was over it; None: it was not."""

    at: float
    name: str
    recovery: float | None


@dataclass(frozen=True, slots=True)
class SoakReport:
    """All that is told at the end."""

    seed: int
    hours: float
    made: Sequence[DisturbanceResult]
    looks: int
    frames: dict[str, int]
    events: dict[str, int]
    outbox: int
    watchdog: dict[str, float]
    told: dict[str, int]
    growth: Sequence[Growth]
    typical: dict[str, float]
    daemon: dict[str, dict[str, Any]]
    processor: float
    failures: Sequence[str]

    def write(self) -> str:
        """Into `build/hours.json` and `build/hours.md`; the latter is given back."""
        BUILD.mkdir(exist_ok=True)
        (BUILD / "hours.json").write_text(json.dumps(asdict(self), indent=2) + "\n")
        table = "\n".join([*self._what(), "", *self._faults(), "", *self._processes(), "", *self._failed()])
        (BUILD / "hours.md").write_text(table.rstrip() + "\n")
        return table

    def _what(self) -> list[str]:
        frames, events, watchdog = self.frames, self.events, self.watchdog
        first, last = self.daemon["first"], self.daemon["last"]
        rows = {
            "ran for": f"{self.hours:.2f} h, {len(self.made)} faults, one at a time (seed {self.seed})",
            "frames": f"{frames['came']:,} = {frames['clean']:,} clean + {frames['defect']:,} defect + "
            f"{frames['unusable']:,} unusable + {frames['dropped']:,} dropped, exact at {self.looks} looks",
            "events": f"{events['said']:,} said in the log, {events['once']:,} once in Redis, "
            f"{events['lost']} lost, {events['doubled']} doubled, {events['invalid']} against the schema",
            "outbox at the end": f"{self.outbox}",
            "watchdog's longest pause": f"{watchdog['longest']:.1f} s of {watchdog['limit']:.0f} s",
            "told the manager": ", ".join(f"{name} {count}" for name, count in self.told.items()),
            "daemon's files, threads, shared memories": ", ".join(
                f"{first[name]} → {last[name]}" for name in ("files", "threads", "rings")
            ),
            "daemon and capture processes": f"{self.processor:.2f} of a core",
        }
        return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]

    def _faults(self) -> list[str]:
        by_name: defaultdict[str, list[float | None]] = defaultdict(list)
        for one in self.made:
            by_name[one.name].append(one.recovery)
        rows = ["| fault | times | over after: median | worst | not |", "|---|--:|--:|--:|--:|"]
        for name, all_of_it in sorted(by_name.items()):
            took = [one for one in all_of_it if one is not None]
            cells = f"{median(took):.1f} s | {max(took):.1f} s" if took else "– | –"
            rows.append(f"| {name} | {len(all_of_it)} | {cells} | {len(all_of_it) - len(took)} |")
        return rows

    def _processes(self) -> list[str]:
        rows = [
            "| process that lived longest | h | its memory, MB | slope, MB/h | processes, median MB "
            "| files | threads |",
            "|---|--:|--:|--:|--:|--:|--:|",
        ]
        for one in self.growth:
            rows.append(
                f"| {one.name} | {one.hours:.2f} | {one.first:.1f} → {one.last:.1f} "
                f"| {one.slope:+.2f} ± {one.noise:.2f} | {one.processes}, {self.typical[one.name]:.1f} "
                f"| {one.files[0]} → {one.files[1]} | {one.threads[0]} → {one.threads[1]} |"
            )
        return rows

    def _failed(self) -> list[str]:
        return [f"- {failure}" for failure in self.failures]
