"""A daemon run as its user runs it, and what came of it in Redis."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import redis

from monitor.records import Gap
from tests.support import ROOT

ENVIRONMENT = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


def defect_monitor(
    *arguments: str | Path, timeout: float = 120, environment: Mapping[str, str] = {}, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with these variables more in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**ENVIRONMENT, **environment},
        **more,
    )


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, path: str) -> tuple[int, str]:
    """Status and text of the answer at `port` of this machine; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@dataclass
class DaemonUnderTest:
    """A daemon in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def ready(self) -> dict[str, Any]:
        """What /readyz says, once it says 200."""
        wait_for(lambda: self.get("/readyz")[0] == 200, 90, self)
        return dict(json.loads(self.get("/readyz")[1]))

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a page; 0 where nobody answers."""
        return fetch(self.port, path)

    def metric(self, start: str) -> float:
        """Sum of all samples whose line starts so."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.startswith(start)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def stop(self, timeout: float = 10) -> int:
        """SIGTERM; the exit code, which must come within `timeout` seconds."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def run_daemon(
    config: Path,
    port: int,
    python: Sequence[str] = (sys.executable,),
    environment: Mapping[str, str] = {},
) -> Iterator[DaemonUnderTest]:
    """`defect-monitor run -c config`, its log in a file beside it; `python` is what starts Python."""
    log = config.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [*python, "-m", "monitor", "run", "-c", str(config)],
            stderr=output,
            text=True,
            env={**ENVIRONMENT, **environment},
        )
        try:
            yield DaemonUnderTest(process, port, log)
        finally:
            process.kill()
            process.wait()


def children_of(parent: int) -> list[int]:
    """The processes that a process has started and not buried."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(after_name[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def wait_for(true: Callable[[], bool], seconds: float, daemon: DaemonUnderTest | None = None) -> None:
    """Wait until it is true; fail with the daemon's log if it does not become so, or the daemon ended."""
    deadline = time.monotonic() + seconds
    while not true():
        ended = daemon is not None and daemon.process.poll() is not None
        if ended or time.monotonic() > deadline:
            told = daemon.log.read_text() if daemon else ""
            raise AssertionError(f"{'the daemon ended' if ended else 'it did not become true'}: {told}")
        time.sleep(0.1)


def write_config(folder: Path, cameras: str, *, url: str, port: int, more: str = "") -> Path:
    """Settings in a file."""
    path = folder / "line.toml"
    path.write_text(
        f'[redis]\nurl = "{url}"\n[metrics]\nport = {port}\n[inference]\nthreads = 2\n{more}\n{cameras}\n'
    )
    return path


def events_of(url: str) -> list[dict[str, Any]]:
    """All event documents in the stream."""
    with redis.Redis.from_url(url, protocol=2) as client:
        return [json.loads(fields[b"event"]) for _, fields in client.xrange("defects:events")]


def coverage_of(url: str) -> list[dict[str, str]]:
    """All entries of the coverage stream."""
    with redis.Redis.from_url(url, protocol=2) as client:
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in client.xrange("defects:coverage")
        ]


def gaps_of(url: str, camera: str) -> list[Gap]:
    """What the coverage stream says of a camera."""
    return [
        Gap(
            camera=camera,
            first=int(entry["first"]) if "first" in entry else None,
            last=int(entry["last"]) if "last" in entry else None,
            started_at=datetime.fromisoformat(entry["from"]),
            ended_at=datetime.fromisoformat(entry["to"]),
            frames=int(entry["frames"]),
            cause=entry["cause"],
        )
        for entry in coverage_of(url)
        if (entry["kind"], entry["camera"]) == ("gap", camera)
    ]


def logged_events(log: str) -> list[str]:
    """The events that the log calls defects, in order."""
    return re.findall(r" defect .*?event=(\S+)", log)


SCHEMA = json.loads((ROOT / "monitor/events/event.schema.json").read_text())


FOLDER = '[[camera]]\nname = "line"\nsource = "{}"\n'


IN_FULL = "[explain]\nbudget = 1\ndeadline = 600\n"  # however busy the machine is


def defects_of(split: Path) -> dict[int, Path]:
    """Position in the folder's order → mask, of the defective images of a DAGM split."""
    rows = [line.split("\t") for line in (split / "Label/Labels.txt").read_text().splitlines()[1:]]
    names = sorted(row[2] for row in rows)
    return {names.index(row[2]): split / "Label" / row[4] for row in rows if row[1] == "1"}


def overlap(region: dict[str, int], mask: Path) -> float:
    """Intersection over union of a region's box with the box around a mask."""
    left, top, width, height = cv2.boundingRect(cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE))
    across = min(region["x"] + region["width"], left + width) - max(region["x"], left)
    down = min(region["y"] + region["height"], top + height) - max(region["y"], top)
    both = max(across, 0) * max(down, 0)
    return both / (region["width"] * region["height"] + width * height - both)
