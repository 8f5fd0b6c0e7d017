"""The samples of a daemon: lossless, linked to their events, chosen by the settings."""

import itertools
import re
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.bootstrap.daemon import build_daemon
from monitor.events.samples import Sample
from monitor.inference.handle import Classification
from monitor.inference.router import ModelRouter
from monitor.redis_streams.subscriber import Subscriber
from monitor.settings import load_settings
from tests.support.daemon_process import events_of, fetch, wait_for, write_config
from tests.support.fake_model import FakeModel, classification

CAMERA = '[[camera]]\nname = "live"\nsource = "simulate:?seed=5"\nfps = 20\n'
SAMPLES = "[samples]\npublish = true\nband = 0\nrandom_fraction = 1\ninterval = 0.1\nper_day = 3\n"


def samples_of(url: str, client: Any) -> list[Sample]:
    with Subscriber(url, interval=0.05) as subscriber:
        return list(islice(subscriber.samples("0"), client.xlen("defects:samples")))


def every_third_flagged() -> FakeModel:
    numbers = itertools.count()

    def classify(inputs: NDArray[np.uint8]) -> Classification:
        return classification([0.9 if next(numbers) % 3 == 0 else 0.1 for _ in inputs])

    return FakeModel(classify=classify)


def test_flagged_and_random_frames_are_kept_within_the_budget(
    tmp_path: Path, valkey: str, client: Any, port: int
) -> None:
    config = write_config(tmp_path, CAMERA, url=valkey, port=port, more=SAMPLES)
    daemon = build_daemon(load_settings(config), router=ModelRouter(every_third_flagged()))
    running = threading.Thread(target=daemon.run)
    running.start()
    try:
        wait_for(lambda: client.xlen("defects:samples") == 6, 60)
        exceeded = 'skipped_samples_total{camera="live",cause="budget"}'
        wait_for(lambda: exceeded in fetch(port, "/metrics")[1], 60)
        metrics = fetch(port, "/metrics")[1]
        assert fetch(port, "/healthz")[0] == 200
    finally:
        daemon.stop()
        running.join(30)
    assert not running.is_alive()
    kept = re.findall(r'_samples_total{camera="live",reason="(\S+)"} (\S+)', metrics)
    assert dict(kept) == {"flagged": "3.0", "random": "3.0"}
    by_id = {event["id"]: event for event in events_of(valkey)}
    for sample in samples_of(valkey, client):
        png = client.get(sample.image.png_key)
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (sample.image.height, sample.image.width, 3)
        assert (sample.id in by_id) == (sample.reason == "flagged")
        if sample.id in by_id:
            event = by_id[sample.id]
            assert (sample.score, sample.model.sha256) == (event["score"], event["model"]["sha256"])
            assert sample.incident == event["incident"]["id"]
        else:
            assert sample.score < sample.threshold
