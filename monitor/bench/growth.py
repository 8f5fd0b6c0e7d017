"""Row 9: whether any process grows while a million frames go through."""

import os
import time
from collections.abc import Mapping

import numpy as np
import redis

from monitor.bench.line import one_in, video
from monitor.bench.pipeline import Row, Setup
from monitor.bench.tiny import tiny_bundle
from monitor.bench.watched import family, memory, watched

WARM = 0.2
"""Share of the frames after which growth is looked at: caches, pools and buffers are full by then."""

_KEPT = "redis.stream_maxlen = 300\nredis.picture_bytes = 1_000_000\n"
"""So little that Redis holds all it may before the warm-up is over. The mark that an id was delivered stays
for days, and is all that Redis gains after that."""


def growth(setup: Setup) -> list[Row]:
    """Row 9: RSS of every process over `setup.frames` frames of a small network, one in a hundred flagged."""
    recording = video(setup.folder / "small.mp4", 500, one_in(0), side=64)
    threshold = tiny_bundle(setup.folder / "tiny", recording, 0.01)
    more = f'{_KEPT}{setup.more}\n[model]\npath = "{setup.folder / "tiny"}"\nthreshold = {threshold}\n'
    camera = {"name": "line", "source": recording, "loop": True, "frames": "every"}
    seen: dict[str, list[tuple[float, float]]] = {}
    with watched(setup.redis, [camera], more) as daemon:
        while (judged := daemon.snapshot().judged) < setup.frames:
            for pid, name in family(os.getpid()).items():
                if name in ("daemon", "capture", "valkey"):
                    seen.setdefault(f"{name} ({pid})", []).append((judged, memory(pid, "Rss")))
            time.sleep(1)
        flagged = daemon.snapshot().total("frames_total", outcome="defect")
    with redis.Redis.from_url(setup.redis, protocol=2) as client:
        keys = client.dbsize()
    rows = []
    for name, samples in seen.items():
        grown, noise, details = drift(samples, setup.frames)
        what = f"{name}: growth of RSS over the last {1 - WARM:.0%} of {setup.frames:,} frames, MB"
        details = {**details, "flagged frames": flagged, "keys in Redis": keys}
        figure = f"{grown:+.2f} (noise {noise:.2f})"
        rows.append(Row(9, what, figure, "within noise", abs(grown) <= noise, details))
    return rows


def drift(samples: list[tuple[float, float]], frames: int) -> tuple[float, float, Mapping[str, float]]:
    """By how much the second values of `samples` (frames, MB) grow after the warm-up, and their noise.

    The growth is that of a straight line through them, the noise twice the standard deviation around it, of
    whole pages at least (0.1 MB).
    """
    warm = [(at, size) for at, size in samples if at >= WARM * frames]
    if len(warm) < 3:
        return float("nan"), 0.0, {"samples": len(warm)}
    at, size = np.array(warm).T
    slope, start = np.polyfit(at, size, 1)
    noise = 2 * float(np.std(size - (slope * at + start)))
    details = {"samples": len(warm), "first, MB": float(size[0]), "last, MB": float(size[-1])}
    return float(slope * (at[-1] - at[0])), max(noise, 0.1), details
