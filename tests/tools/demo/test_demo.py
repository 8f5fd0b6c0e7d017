"""The demo: what it shows came through Redis, and what it claims it has counted."""

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.event import EventRegion
from monitor.imaging.ellipse import Ellipse
from monitor.tools.demo.scorecard import covers_defect, median_and_p99
from tests.support.daemon_process import ENVIRONMENT, defect_monitor


def counted(summary: str, name: str) -> int:
    """The first number behind a name in the summary."""
    found = re.search(rf"^ *{name} +(\d+)", summary, re.MULTILINE)
    assert found, summary
    return int(found[1])


def test_it_flags_what_was_simulated_with_a_box_on_it_and_none_elsewhere(tmp_path: Path) -> None:
    done = defect_monitor(
        "demo", "--seconds", "8", "--port", "0", "--out", tmp_path, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr + done.stdout
    hits, misses, flagged = (counted(done.stdout, word) for word in ("hits", "misses", "flagged"))
    # On a busy machine the end comes before the last ones are explained.
    assert hits + counted(done.stdout, "without a box") == flagged >= 1
    assert misses == counted(done.stdout, "boxes elsewhere") == 0
    unseen = re.search(r"on frames not inspected (\d+)", done.stdout)
    assert unseen
    assert counted(done.stdout, "defects simulated") == counted(done.stdout, "flagged") + misses + int(
        unseen[1]
    )
    pictures = [cv2.imread(str(path)) for path in tmp_path.glob("*.jpg")]
    assert len(pictures) == min(flagged, 6)
    assert all(picture is not None and picture.shape[1] == 512 for picture in pictures)


def test_ctrl_c_ends_it_with_the_summary(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "monitor", "demo", "--port", "0", "--out", str(tmp_path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        address = next(lines).removeprefix("page: ").strip()  # before anything else
        assert any("on the defect" in line for line in lines)
        with urllib.request.urlopen(f"{address}events", timeout=60) as gallery:
            assert 'class="card"' in gallery.read().decode()
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        rest = process.stdout.read()
        assert process.wait(10) == 0, rest
        assert time.monotonic() - asked < 10
    assert counted(rest, "frames") >= 1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(address, timeout=10)


def test_a_box_is_a_hit_where_its_middle_lies_in_the_ellipse() -> None:
    ellipse = Ellipse(100, 60, 30, 10, 0)

    def place(x: int, y: int) -> EventRegion:
        return EventRegion(
            x=x, y=y, width=20, height=10, centroid=(0, 0), peak_at=(0, 0), peak=1, area=9, contour=()
        )

    assert covers_defect(place(90, 55), ellipse, width=200, height=100)
    assert not covers_defect(place(90, 80), ellipse, width=200, height=100)
    assert not covers_defect(place(140, 55), ellipse, width=200, height=100)


@given(st.lists(st.floats(0, 1e4), min_size=1))
def test_quantiles_are_exact(values: list[float]) -> None:
    median, high = median_and_p99(values)
    for share, found in ((0.5, median), (0.99, high)):
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) - 1e-9
        assert sum(value < found for value in values) < share * len(values)


def test_without_values_there_is_no_quantile() -> None:
    assert all(np.isnan(value) for value in median_and_p99([]))
