"""Measures what people who watch the cameras cost the verdicts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import redis

from monitor.redis_streams.keys import RedisKeys
from monitor.tools.bench.daemon_process import MetricsSnapshot, run_daemon
from monitor.tools.bench.line import BenchConfig, PipelineResult
from monitor.tools.bench.recordings import every_nth, video

_CAMERA = "line"


_INTERVAL = 0.25  # seconds between two reads of a viewer


_SETTLE = 2.0  # the daemon asks once a second whether somebody watches


def watched(setup: BenchConfig) -> list[PipelineResult]:
    """Verdict latency of one camera while five viewers read live frames, to that without, in turn."""
    recording = video(setup.folder / "one-in-100.mp4", 300, every_nth(100))
    camera = {"name": _CAMERA, "source": recording, "loop": True, "frames": "newest", "fps": setup.rate}
    alone: list[MetricsSnapshot] = []
    seen: list[MetricsSnapshot] = []
    numbers: set[bytes] = set()
    with run_daemon(setup.redis, [camera], setup.more) as daemon:
        daemon.wait_until_passed(90)
        for _ in range(setup.rounds):
            time.sleep(_SETTLE)
            alone.append(daemon.measure(setup.seconds))
            with viewers(setup.redis, _CAMERA, 5) as frames:
                time.sleep(_SETTLE)
                seen.append(daemon.measure(setup.seconds))
            numbers |= frames
    rows = []
    for share in (0.5, 0.99):
        without, with_viewers = (
            [1000 * one.quantile("verdict_seconds", share) for one in turns] for turns in (alone, seen)
        )
        ratio = median(with_viewers) / median(without)
        details = {"live frames that were read": float(len(numbers))}
        for turn, pair in enumerate(zip(without, with_viewers, strict=True), 1):
            details[f"p{100 * share:g} without viewers, turn {turn}, ms"] = pair[0]
            details[f"p{100 * share:g} with viewers, turn {turn}, ms"] = pair[1]
        what = f"live {setup.rate:g}/s: verdict p{100 * share:g} with 5 viewers, to that without"
        rows.append(PipelineResult(0, what, f"{ratio:.2f}", "≤ 1.1", ratio <= 1.1, details))
    return rows


@contextmanager
def viewers(url: str, camera: str, count: int) -> Iterator[set[bytes]]:
    """Let `count` viewers read the live frames of `camera`; yield the numbers of the frames read so far."""
    keys, seen, end = RedisKeys(), set[bytes](), threading.Event()

    def view() -> None:
        with redis.Redis.from_url(url, protocol=2) as client:
            while not end.wait(_INTERVAL):
                client.set(keys.watching, "1", px=3000)
                if fields := client.hgetall(keys.preview(camera)):
                    seen.add(fields[b"frame_number"])

    threads = [threading.Thread(target=view, name=f"viewer {number}", daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        end.set()
        for thread in threads:
            thread.join()
