"""The benchmark of the daemon: what it reads off is what was there."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from monitor.capture.sources.opening import open_source
from monitor.tools.bench.daemon_process import MetricsSnapshot, memory, process_tree, processor_seconds
from monitor.tools.bench.memory_growth import linear_drift
from monitor.tools.bench.recordings import PlannedDefects, every_nth, uncompressed, video
from tests.support.daemon_process import defect_monitor

LINE, DOOR = frozenset({("camera", "line")}), frozenset({("camera", "door")})


def test_a_planned_line_has_its_defects_where_they_are_wanted_and_nowhere_else() -> None:
    line = PlannedDefects(every_nth(5), side=128)
    clean = PlannedDefects(every_nth(0), side=128)
    for number in range(10):
        assert (line.defect_at(number) is not None) == (number % 5 == 2)
        assert clean.defect_at(number) is None
        same = np.array_equal(line.picture(number), clean.picture(number))
        assert same == (number % 5 != 2)


def test_an_uncompressed_recording_shows_the_same_pictures(tmp_path: Path) -> None:
    packed = video(tmp_path / "small.mp4", 5, every_nth(2), side=64)
    plain = open_source(str(uncompressed(packed)))
    source = open_source(str(packed))
    for _ in range(5):
        wanted, found = source.read(), plain.read()
        assert wanted is not None
        assert found is not None
        assert np.abs(wanted.astype(int) - found).max() <= 1
    assert plain.read() is None
    source.close()
    plain.close()


def test_what_was_counted_between_two_snapshots_is_their_difference_by_labels() -> None:
    before = MetricsSnapshot(10.0, {("frames_total", LINE): 3.0, ("frames_total", DOOR): 1.0})
    after = MetricsSnapshot(
        14.0, {("frames_total", LINE): 10.0, ("frames_total", DOOR): 1.0, ("up", LINE): 1.0}
    )
    seen = after.since(before)
    assert seen.at == 4.0
    assert (seen.total("frames_total"), seen.total("frames_total", camera="door")) == (7.0, 0.0)
    assert seen.by("frames_total", "camera") == {"line": 7.0}
    assert seen.total("up") == 1.0


def test_quantiles_join_the_histograms_of_all_cameras() -> None:
    def bucket(
        camera: str, border: str, count: float
    ) -> tuple[tuple[str, frozenset[tuple[str, str]]], float]:
        return ("verdict_seconds_bucket", frozenset({("camera", camera), ("le", border)})), count

    seen = MetricsSnapshot(
        1.0,
        dict(
            bucket(camera, border, count)
            for camera, counts in {"line": (10, 10, 10), "door": (0, 10, 10)}.items()
            for border, count in zip(("0.01", "0.02", "+Inf"), counts, strict=True)
        ),
    )
    assert seen.quantile("verdict_seconds", 0.5) == pytest.approx(0.01)
    assert seen.quantile("verdict_seconds", 0.75) == pytest.approx(0.015)
    assert seen.quantile("verdict_seconds", 0.5, camera="door") == pytest.approx(0.015)


def test_growth_is_told_from_noise_and_from_warming_up() -> None:
    random = np.random.default_rng(0)
    at = np.arange(0, 1000, 10.0)
    warming = np.where(at < 150, 100 + at / 3, 150) + random.normal(0, 0.5, len(at))
    grown, noise, _ = linear_drift(list(zip(at, warming, strict=True)), 1000)
    assert abs(grown) <= noise
    leaking = warming + at * 0.01
    grown, noise, _ = linear_drift(list(zip(at, leaking, strict=True)), 1000)
    assert grown == pytest.approx(8, abs=1)
    assert grown > noise


def test_a_process_is_found_with_what_it_uses() -> None:
    own = os.getpid()
    assert own in process_tree(os.getppid())
    assert 10 < memory(own) <= memory(own, "Rss")
    assert processor_seconds(own) > 0
    assert memory(2**22 + 1) == processor_seconds(2**22 + 1) == 0


def test_the_command_measures_a_daemon_of_its_own(tmp_path: Path) -> None:
    done = defect_monitor(
        *("bench", "pipeline", "--json", "--row", "memory", "--frames", "1000"), timeout=280, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["what"].split(" ")[0] for row in rows} == {"daemon", "capture", "valkey"}
    assert 0 < rows[0]["details"]["flagged frames"] < 100  # about one in a hundred
