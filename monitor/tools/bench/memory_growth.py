"""Row 9: whether any process grows while it handles a million frames."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import redis

from monitor.capture.sources.opening import open_source
from monitor.imaging.geometry import resize_to_input
from monitor.models.bundle import save_bundle
from monitor.models.card import BundleFile, ModelCard, Preprocessing, TrainingInfo
from monitor.models.preprocessing import preprocess
from monitor.tools.bench.daemon_process import memory, process_tree, run_daemon
from monitor.tools.bench.line import BenchConfig, PipelineResult
from monitor.tools.bench.recordings import every_nth, video

WARM = 0.2
"""Fraction of the frames after which growth is measured: caches, pools and buffers are full by then."""


_SMALL_RETENTION = "redis.stream_maxlen = 300\nredis.picture_bytes = 1_000_000\n"
"""So small that Redis reaches its limits before the warm-up is over."""


def growth(setup: BenchConfig) -> list[PipelineResult]:
    """Row 9: RSS of every process over `setup.frames` frames of a small network, one in a hundred flagged."""
    recording = video(setup.folder / "small.mp4", 500, every_nth(0), side=64)
    threshold = tiny_bundle(setup.folder / "tiny", recording, 0.01)
    model = f'[model]\npath = "{setup.folder / "tiny"}"\nthreshold = {threshold}\n'
    more = f"{_SMALL_RETENTION}{setup.more}\n{model}"
    camera = {"name": "line", "source": recording, "loop": True, "frames": "every"}
    seen: dict[str, list[tuple[float, float]]] = {}
    with run_daemon(setup.redis, [camera], more) as daemon:
        while (judged := daemon.snapshot().judged) < setup.frames:
            for pid, name in process_tree(os.getpid()).items():
                if name in ("daemon", "capture", "valkey"):
                    seen.setdefault(f"{name} ({pid})", []).append((judged, memory(pid, "Rss")))
            time.sleep(1)
        flagged = daemon.snapshot().total("frames_total", outcome="defect")
    with redis.Redis.from_url(setup.redis, protocol=2) as client:
        keys = client.dbsize()
    rows = []
    for name, samples in seen.items():
        grown, noise, details = linear_drift(samples, setup.frames)
        what = f"{name}: growth of RSS over the last {1 - WARM:.0%} of {setup.frames:,} frames, MB"
        details = {**details, "flagged frames": flagged, "keys in Redis": keys}
        figure = f"{grown:+.2f} (noise {noise:.2f})"
        rows.append(PipelineResult(9, what, figure, "within noise", abs(grown) <= noise, details))
    return rows


def linear_drift(samples: list[tuple[float, float]], frames: int) -> tuple[float, float, Mapping[str, float]]:
    """Return how much the second values of `samples` (frames, MB) grow after the warm-up, and their noise.

    The growth is that of a straight line through them, the noise is twice the standard deviation around
    it, at least 0.1 MB (whole pages).
    """
    warm = [(at, size) for at, size in samples if at >= WARM * frames]
    if len(warm) < 3:
        return float("nan"), 0.0, {"samples": len(warm)}
    at, size = np.array(warm).T
    slope, start = np.polyfit(at, size, 1)
    noise = 2 * float(np.std(size - (slope * at + start)))
    details = {"samples": len(warm), "first, MB": float(size[0]), "last, MB": float(size[-1])}
    return float(slope * (at[-1] - at[0])), max(noise, 0.1), details


SIDE = 32


def tiny_bundle(path: Path, video: Path, flagged: float) -> float:
    """Write a bundle with random weights to `path`; return the threshold that flags this fraction."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(16, 5, strides=4, padding="same", activation="relu", name="maps")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    card = ModelCard(
        name="tiny",
        classes=("good", "defect"),
        defect_class=1,
        input_height=SIDE,
        input_width=SIDE,
        preprocessing=Preprocessing(
            channel_order="bgr", mean=(128.0, 128.0, 128.0), deviation=(128.0, 128.0, 128.0)
        ),
        cam_layer="maps",
        cell_offset=(1.5, 1.5),
        threshold=0.5,
        threshold_origin="none",
        training=TrainingInfo(
            command="", recipe="none", init="none", seed=1, data=(), epochs=0, kept_epoch=0, versions={}
        ),
        figures={},
        model=BundleFile(file="none.keras", sha256="0" * 64),
    )
    save_bundle(path, model, card, None)
    source = open_source(str(video))
    pictures = []
    while (picture := source.read()) is not None:  # read as the daemon reads: the scores lie close together
        pictures.append(resize_to_input(picture, (SIDE, SIDE)))
    source.close()
    scores = np.sort(model.predict(preprocess(card, np.stack(pictures)), verbose=0)[:, 1].astype(float))
    first = len(scores) - max(1, round(flagged * len(scores)))
    return float(scores[first - 1] + scores[first]) / 2
