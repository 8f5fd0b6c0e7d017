"""The whole daemon on this machine with nothing to configure, and a count of how well it did.

What is shown comes from Redis, as any subscriber would get it; what is true comes from the simulation.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import redis
from prometheus_client import CollectorRegistry

from monitor.daemon import Daemon
from monitor.measure.quantile import quantile
from monitor.publish.document import Event, Place
from monitor.publish.embedded import embedded_server
from monitor.publish.subscriber import Subscriber
from monitor.records import Outcome
from monitor.settings import parse_settings
from monitor.simulate.ellipse import Ellipse
from monitor.simulate.surface import SurfaceLine

FPS = 15
DEFECT_RATE = 0.05
SEEDS: Mapping[str, int] = {"left": 11, "right": 12}
_PICTURES = 6
_SETTINGS = """
[redis]
url = "{url}"
[metrics]
port = {port}
[log]
level = "warning"
[explain]
budget = 1  # it shows where defects are, also on a slow machine
deadline = 30
"""
_CAMERA = """
[[camera]]
name = "{name}"
source = "simulate:?seed={seed}&defect_rate={rate}"
fps = {fps}
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """An event that came through Redis: `hit` if a box lies on a defect, `elsewhere` counts others."""

    event: Event
    hit: bool
    elsewhere: int


@dataclass(slots=True)
class Tally:
    """What came out of a demo. Latencies are in seconds; NaN where nothing was measured."""

    frames: int = 0
    not_inspected: int = 0
    defects: int = 0
    defects_not_inspected: int = 0
    seen: list[Seen] = field(default_factory=list)
    missed: int = 0
    verdict: tuple[float, float] = (float("nan"), float("nan"))
    event: tuple[float, float] = (float("nan"), float("nan"))
    pictures: list[Path] = field(default_factory=list)

    @property
    def hits(self) -> int:
        """Flagged frames with a box on the defect."""
        return sum(seen.hit for seen in self.seen)

    @property
    def without_box(self) -> int:
        """Flagged frames without a place, as where the demo ended before they were explained."""
        return sum(not seen.event.regions for seen in self.seen)

    @property
    def elsewhere(self) -> int:
        """Boxes that lie on no defect."""
        return sum(seen.elsewhere for seen in self.seen)


class Demo:
    """A running demo: an embedded server, a daemon on two simulated cameras, a subscriber."""

    def __init__(self, url: str, port: int, out: Path) -> None:
        cameras = "".join(
            _CAMERA.format(name=name, seed=seed, rate=DEFECT_RATE, fps=FPS) for name, seed in SEEDS.items()
        )
        self.daemon = Daemon(parse_settings(_SETTINGS.format(url=url, port=port) + cameras, "demo", {}))
        self._lines = {
            name: SurfaceLine(seed, defect_rate=DEFECT_RATE, textures=1) for name, seed in SEEDS.items()
        }
        self._url, self._out = url, out
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self.tally = Tally()
        self._daemon_thread = threading.Thread(target=self._run_daemon, name="daemon")
        self._reader_thread = threading.Thread(target=self._read, name="subscriber")

    def start(self) -> None:
        """Start watching; returns when the cameras run or the daemon has failed."""
        self._out.mkdir(parents=True, exist_ok=True)
        self._daemon_thread.start()
        self._reader_thread.start()
        while not self.daemon.wait_until_ready(0.1) and self._daemon_thread.is_alive():
            pass

    @property
    def running(self) -> bool:
        """Whether the daemon is at work."""
        return self._daemon_thread.is_alive()

    def finish(self) -> Tally:
        """Let the daemon finish what it has, and count. Raises what the daemon failed of."""
        self.daemon.stop()
        self._daemon_thread.join()
        self._ended.set()
        self._reader_thread.join()
        if self._failure is not None:
            raise self._failure
        return self._count()

    def _run_daemon(self) -> None:
        try:
            self.daemon.run()
        except Exception as error:
            self._failure = error  # raised again where the demo is finished

    def _read(self) -> None:
        with Subscriber(self._url, interval=0.2) as subscriber:
            for event in subscriber.follow("0", stop=self._all_read(subscriber)):
                self.tally.seen.append(self._compared(event))
                picture = subscriber.picture(event)
                if picture is not None and len(self.tally.pictures) < _PICTURES:
                    path = self._out / f"{event.id}.jpg"
                    path.write_bytes(picture)
                    self.tally.pictures.append(path)

    def _all_read(self, subscriber: Subscriber) -> Callable[[], bool]:
        """Stop once the daemon has ended and every entry of the stream was read."""
        client = redis.Redis.from_url(self._url, protocol=2, socket_timeout=5)
        return lambda: (
            self._ended.is_set() and len(self.tally.seen) >= int(client.xlen(subscriber.keys.events))
        )

    def _compared(self, event: Event) -> Seen:
        truth = self._lines[event.camera].truth(event.frame_number)
        size = event.image
        on_it = [
            truth is not None and lies_on(place, truth, width=size.width, height=size.height)
            for place in event.regions
        ]
        return Seen(event, hit=any(on_it), elsewhere=on_it.count(False))

    def _count(self) -> Tally:
        tally = self.tally
        flagged = {(seen.event.camera, seen.event.frame_number) for seen in tally.seen}
        gaps = self._gaps()
        for name, line in self._lines.items():
            frames = {outcome: self._frames(name, outcome) for outcome in (*get_args(Outcome), "dropped")}
            captured = sum(frames.values())
            defects = [number for number in range(captured) if line.truth(number) is not None]
            tally.frames += captured
            tally.not_inspected += frames["unusable"] + frames["dropped"]
            tally.defects += len(defects)
            for number in defects:
                if (name, number) in flagged:
                    continue
                # What nobody looked at is no miss of the network: it is told apart.
                if any(camera == name and number in numbers for camera, numbers in gaps):
                    tally.defects_not_inspected += 1
                else:
                    tally.missed += 1
        tally.verdict = quantiles(self.daemon.registry, "defect_monitor_verdict_seconds")
        tally.event = quantiles(self.daemon.registry, "defect_monitor_event_seconds")
        return tally

    def _frames(self, camera: str, outcome: str) -> int:
        labels = {"camera": camera, "outcome": outcome}
        return int(self.daemon.registry.get_sample_value("defect_monitor_frames_total", labels) or 0)

    def _gaps(self) -> list[tuple[str, range]]:
        """Cameras and the numbers of frames that were not inspected, from the coverage stream."""
        with redis.Redis.from_url(self._url, protocol=2, socket_timeout=5) as client:
            entries = [fields for _, fields in client.xrange("defects:coverage")]
        return [
            (entry[b"camera"].decode(), range(int(entry[b"first"]), int(entry[b"last"]) + 1))
            for entry in entries
            if entry[b"kind"] == b"gap" and b"first" in entry
        ]


def lies_on(place: Place, truth: Ellipse, *, width: int, height: int) -> bool:
    """Whether the middle of a box lies within the ellipse, in a picture of `width` x `height` pixels."""
    row, column = place.y + place.height // 2, place.x + place.width // 2
    return bool(truth.mask(height, width)[row, column])


def quantiles(registry: CollectorRegistry, histogram: str) -> tuple[float, float]:
    """Median and 99th percentile of a histogram over all labels, linear within a bucket; NaN if empty."""
    counts: Counter[float] = Counter()
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == f"{histogram}_bucket":
                counts[float(sample.labels["le"])] += int(sample.value)
    return quantile(counts, 0.5), quantile(counts, 0.99)


@contextmanager
def demo(port: int, out: Path) -> Iterator[Demo]:
    """A demo that is watching; metrics at `port` (0: any), some annotated frames go to the folder `out`.

    Raises MonitorError.
    """
    with embedded_server() as url:
        running = Demo(url, port, out)
        running.start()
        try:
            yield running
        finally:
            if running.running:
                running.daemon.stop()
