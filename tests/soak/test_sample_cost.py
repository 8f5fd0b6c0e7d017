"""What samples cost a verdict: verdicts beside a sample, to those without, in one run.

`pytest -m soak -s tests/soak/test_sample_cost.py` prints the figures of monitor/events/README.md.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from monitor.bootstrap.inference import build_router, device
from monitor.daemon.sample_selection import SamplingRules
from monitor.daemon.samples import SampleRecorder
from monitor.events.samples import Sample
from monitor.inference.router import ModelRouter
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

ROUNDS, FRAMES = 20, 10


class TimedStore(SampleStore):
    """Notes the processor time of its thread, in seconds, whenever a sample is stored."""

    def __init__(self, url: str) -> None:
        super().__init__(url, "defects")
        self.used: list[float] = []

    def store(self, sample: Sample, png: bytes) -> None:
        super().store(sample, png)
        self.used.append(time.thread_time())


@pytest.mark.soak
def test_a_sample_a_second_beside_the_classification(tmp_path: Path, valkey: str) -> None:
    config = write_config(tmp_path, '[[camera]]\nname = "top"\nsource = "simulate:"\n', url=valkey, port=0)
    settings = load_settings(config)
    device(settings)
    router = build_router(settings, DeviceScheduler())
    router.load()
    store = TimedStore(valkey)
    rules = SamplingRules(band=0.0, unfamiliar=False, random_fraction=1.0, interval=1.0, per_day=10_000)
    recorder = SampleRecorder(store, rules, SampleMetrics(CollectorRegistry()))
    calls: list[float] = []

    def on_clean(*arguments: Any) -> None:
        began = time.thread_time()
        recorder.on_clean(*arguments)
        calls.append(time.thread_time() - began)

    stage = InferenceStage(
        ModelRouter(router.handles[0]), ignore, ignore, RecordingObserver(), on_clean=on_clean
    )
    recorder.start()
    surface = SurfaceGenerator(seed=1, textures=1)
    pictures = [surface.picture(number) for number in range(FRAMES)]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    used = time.process_time()
    for number in range(ROUNDS * FRAMES):
        image = np.roll(pictures[number % FRAMES], 7 * (number // FRAMES), axis=1)  # no near-duplicate
        height, width = image.shape[:2]
        frame = Frame(
            *("top", number, datetime.now(UTC), time.monotonic(), image),
            (Box(0, 0, width, height),),
            image[None],
        )
        stored, was_filled = len(store.used), bool(recorder._mailbox)
        began = time.perf_counter()
        stage.process([frame])
        took = time.perf_counter() - began
        seconds[was_filled or len(store.used) > stored].append(took)
    used = time.process_time() - used
    recorder.close()
    recorder.thread.join(10)
    router.close()
    kept = len(store.used)
    assert kept > 1
    sample = (store.used[-1] - store.used[0]) / (kept - 1)
    verdict = (used - sample * kept) / (ROUNDS * FRAMES)
    p50, p90 = (
        np.quantile(seconds[True], share) / np.quantile(seconds[False], share) for share in (0.5, 0.9)
    )
    print(
        f"\n{ROUNDS * FRAMES} verdicts of {1e3 * verdict:.0f} ms of processor time each; a sample takes "
        f"{sample / verdict:.2f} times that, in its own thread, and {1e6 * np.mean(calls):.0f} µs in the "
        f"thread that classifies; {len(seconds[True])} verdicts beside a sample took {p50:.2f} (p50) and "
        f"{p90:.2f} (p90) times as long as the others"
    )
