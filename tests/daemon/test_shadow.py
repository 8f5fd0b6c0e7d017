"""A challenger beside the model of a running daemon: its differences are samples, verdicts stay the same."""

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis

from monitor.bootstrap.inference import build_router
from monitor.errors import ModelError
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle
from monitor.redis_streams.subscriber import Subscriber
from monitor.settings import load_settings
from monitor.settings.schema import ModelSettings
from tests.support.daemon_process import run_daemon, wait_for, write_config
from tests.support.hot_swap import PLAIN
from tests.support.model_copies import copy_bundle, copy_network

CAMERAS = """
[[camera]]
name = "shadowed"
source = "simulate:?seed=5&size=256x256"
fps = 20
frames = "every"
shadow = "{shadow}"
[[camera]]
name = "plain"
source = "simulate:?seed=5&size=256x256"
fps = 20
frames = "every"
"""
SAMPLES = "[samples]\npublish = true\nband = 0\nunfamiliar = false\nrandom_fraction = 0\nper_day = 3\n"


def verdicts_of(url: str, camera: str) -> dict[int, tuple[str, float]]:
    """Outcome and score by the number of the frame."""
    with redis.Redis.from_url(url, protocol=2) as client:
        batches = [json.loads(fields[b"verdicts"]) for _, fields in client.xrange("defects:verdicts")]
    return {
        it["frame_number"]: (it["outcome"], it["score"])
        for batch in batches
        if batch["camera"] == camera
        for it in batch["verdicts"]
    }


def test_differences_are_samples_and_verdicts_are_those_without_a_shadow(
    tmp_path: Path, valkey: str, port: int, small_bundle: ModelBundle, client: Any
) -> None:
    challenger = copy_network(tmp_path / "challenger", small_bundle.path, name="challenger", threshold=0.05)
    more = (
        f'[model]\npath = "{small_bundle.path}"\n'
        + SAMPLES
        + PLAIN
        + "[inference]\nthreads = 2\nshadow_budget = 0.5\n"
    )
    config = write_config(tmp_path, CAMERAS.format(shadow=challenger), url=valkey, port=port)
    config.write_text(config.read_text().replace("[inference]\nthreads = 2\n", more))
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: client.xlen("defects:samples") == 3, 60, daemon)
        wait_for(lambda: daemon.metric("defect_monitor_skipped_samples_total") > 0, 60, daemon)
        metrics = daemon.get("/metrics")[1]
        assert daemon.get("/healthz")[0] == 200
        assert daemon.stop(60) == 0
    found = re.findall(r'shadow_frames_total\{camera="(\S+?)",outcome="(\S+?)"\} (\S+)', metrics)
    assert {(camera, outcome) for camera, outcome, _ in found} <= {
        ("shadowed", "differs"),
        ("shadowed", "dropped"),
    }
    shadowed, plain = verdicts_of(valkey, "shadowed"), verdicts_of(valkey, "plain")
    common = sorted(shadowed.keys() & plain.keys())
    assert len(common) > 3
    assert [shadowed[number] for number in common] == [plain[number] for number in common]
    assert {outcome for outcome, _ in shadowed.values()} == {"clean"}
    with Subscriber(valkey, interval=0.05) as subscriber:
        samples = list(islice(subscriber.samples("0"), 3))
        assert all(subscriber.sample_image(sample) is not None for sample in samples)
    for sample in samples:
        assert (sample.camera, sample.reason) == ("shadowed", "shadow-differs")
        assert sample.shadow is not None
        assert sample.score < sample.threshold
        assert sample.shadow.score >= sample.shadow.threshold == 0.05
        assert sample.model.name == "toy"
        assert sample.shadow.model.name == "challenger"


def test_a_shadow_is_one_more_network_and_a_damaged_one_is_refused(
    tmp_path: Path, small_bundle: ModelBundle, small_model: str
) -> None:
    challenger = copy_bundle(tmp_path / "challenger", small_bundle.path, name="challenger")
    cameras = CAMERAS.replace('name = "plain"', f'name = "plain"\nshadow = "{challenger}"')
    more = small_model + SAMPLES
    config = write_config(
        tmp_path, cameras.format(shadow=challenger), url="redis://127.0.0.1:1", port=0, more=more
    )
    settings, scheduler = load_settings(config), DeviceScheduler()
    running = build_router(settings, scheduler)
    (shadow,) = running.shadows
    assert running.handles != [shadow]
    assert build_router(settings, scheduler, running).shadows == [shadow]  # a reload uses it again
    promoted = settings.model_copy(update={"model": ModelSettings(path=str(challenger))})
    assert build_router(promoted, scheduler, running).handles == [shadow]  # without loading it
    network = next(challenger.glob("model-*.keras"))
    network.write_bytes(network.read_bytes()[:-1])
    with pytest.raises(ModelError, match=network.name):
        build_router(settings, scheduler, running)
