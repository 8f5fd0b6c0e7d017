"""What samples cost a verdict: the same frames classified with and without, in turn, in one run.

`pytest -m soak -s tests/soak/test_sample_cost.py` prints the figures of monitor/events/README.md.
"""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from monitor.bootstrap.inference import build_router, device
from monitor.daemon.sample_selection import SamplingRules
from monitor.daemon.samples import SampleRecorder
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import ignore
from monitor.records import Box, Frame
from monitor.redis_streams.sample_store import SampleStore
from monitor.settings import load_settings
from monitor.simulate.surface import SurfaceGenerator
from monitor.telemetry.sample_metrics import SampleMetrics
from tests.support.daemon_process import write_config
from tests.support.recording import RecordingObserver

ROUNDS, FRAMES = 12, 10


@pytest.mark.soak
def test_a_sample_a_second_beside_the_classification(tmp_path: Path, valkey: str) -> None:
    config = write_config(tmp_path, '[[camera]]\nname = "top"\nsource = "simulate:"\n', url=valkey, port=0)
    settings = load_settings(config)
    device(settings)
    router = build_router(settings, DeviceScheduler())
    router.load()
    registry = CollectorRegistry()
    rules = SamplingRules(band=0.0, unfamiliar=False, random_fraction=1.0, interval=1.0, per_day=10_000)
    recorder = SampleRecorder(SampleStore(valkey, "defects"), rules, SampleMetrics(registry))
    recorder.start()
    observer = RecordingObserver()
    stages = [
        InferenceStage(router, ignore, ignore, observer, on_clean=on_clean)
        for on_clean in (ignore, recorder.on_clean)
    ]
    surface = SurfaceGenerator(seed=1, textures=1)
    pictures = [surface.picture(number) for number in range(FRAMES)]
    seconds: list[list[float]] = [[], []]
    for turn in range(ROUNDS):
        for index in (0, 1) if turn % 2 else (1, 0):
            for number, picture in enumerate(pictures):
                image = np.roll(picture, 7 * turn, axis=1)  # no near-duplicate
                height, width = image.shape[:2]
                frame = Frame(
                    *("top", turn * FRAMES + number, datetime.now(UTC), time.monotonic(), image),
                    (Box(0, 0, width, height),),
                    image[None],
                )
                began = time.perf_counter()
                stages[index].process([replace(frame, monotonic=time.monotonic())])
                seconds[index].append(time.perf_counter() - began)
    recorder.close()
    recorder.thread.join(10)
    kept = registry.get_sample_value("defect_monitor_samples_total", {"camera": "top", "reason": "random"})
    assert kept
    ratios = [
        float(np.quantile(seconds[1], share) / np.quantile(seconds[0], share)) for share in (0.5, 0.9, 0.99)
    ]
    print(
        f"\n{kept:.0f} samples among {len(seconds[1])} verdicts of {median(seconds[0]) * 1e3:.0f} ms: with "
        f"samples p50 {ratios[0]:.3f}, p90 {ratios[1]:.3f}, p99 {ratios[2]:.3f} times that without"
    )
    router.close()
