"""Ten minutes of eight simulated cameras: each frame that came is accounted for, camera by camera.

Prints the figures that the documentation quotes. `make soak` runs it; it is too long for every test run.
"""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.accounts import OUTCOMES, frames_in, held, is_exact, outcomes
from tests.support.daemon_process import (
    DaemonUnderTest,
    coverage_of,
    events_of,
    run_daemon,
    wait_for,
    write_config,
)

pytestmark = pytest.mark.soak
SECONDS, FPS, PORT = 600, 4, 9466
NAMES = [f"camera-{number}" for number in range(8)]
CAMERA = '[[camera]]\nname = "{}"\nsource = "simulate:?seed={}&defect_rate=0.01"\nfps = {}\nsilence = 30\n'


def settled(daemon: DaemonUnderTest) -> str:
    """The metrics once all that came is accounted for, to the frame; nothing more must be coming."""

    def exact() -> bool:
        page = daemon.get("/metrics")[1]
        return all(is_exact(page, name) for name in NAMES)

    wait_for(exact, 20, daemon)
    return daemon.get("/metrics")[1]


def test_ten_minutes_of_eight_cameras(tmp_path: Path, valkey: str) -> None:
    cameras = "".join(CAMERA.format(name, seed, FPS) for seed, name in enumerate(NAMES, start=1))
    with run_daemon(write_config(tmp_path, cameras, url=valkey, port=PORT), PORT) as daemon:
        daemon.ready()
        wait_for(lambda: all(frames_in(daemon.get("/metrics")[1], name) for name in NAMES), 120, daemon)
        looks = []
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            time.sleep(min(60.0, max(0.0, ends - time.monotonic())))
            with held(daemon) as readers:
                assert len(readers) == len(NAMES)
                page = settled(daemon)
            looks.append(sum(frames_in(page, name) for name in NAMES))
        counted = {name: outcomes(page, name) for name in NAMES}
        time.sleep(2)  # a gap is told within a second
        assert daemon.stop() == 0, daemon.log.read_text()[-2000:]
    told = Counter[str]()
    for entry in coverage_of(valkey):
        assert entry["kind"] != "camera" or entry["state"] in ("starting", "up", "ended")
        if entry["kind"] == "gap":
            told[entry["camera"]] += int(entry["frames"])
    numbers = {name: [e["frame_number"] for e in events_of(valkey) if e["camera"] == name] for name in NAMES}
    figures = {
        "frames": {one: sum(counted[name][one] for name in NAMES) for one in OUTCOMES},
        "frames in": looks[-1],
        "looks at which each camera's sum was exact": len(looks),
        "events": sum(len(found) for found in numbers.values()),
    }
    print(json.dumps(figures, indent=2))
    for name, found in numbers.items():
        assert len(set(found)) == len(found)
        assert len(found) >= counted[name]["defect"]
        assert told[name] >= counted[name]["dropped"] + counted[name]["unusable"]
