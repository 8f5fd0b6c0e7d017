"""The samples of a real daemon: lossless, linked to their events, chosen by the settings."""

import re
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from monitor.events.samples import Sample
from monitor.redis_streams.subscriber import Subscriber
from tests.support.daemon_process import events_of, fetch, run_daemon, wait_for, write_config

CAMERA = '[[camera]]\nname = "live"\nsource = "simulate:?seed=5&defect_rate=0.3"\nfps = 4\n'
SAMPLES = "[samples]\npublish = true\nband = 0\nrandom_fraction = 1\ninterval = 0.5\nper_day = 3\n"


def samples_of(url: str, client: Any) -> list[Sample]:
    with Subscriber(url, interval=0.05) as subscriber:
        return list(islice(subscriber.samples("0"), client.xlen("defects:samples")))


def test_flagged_and_random_frames_are_kept_within_the_budget(
    tmp_path: Path, valkey: str, client: Any, port: int
) -> None:
    config = write_config(tmp_path, CAMERA, url=valkey, port=port, more=SAMPLES)
    with run_daemon(config, port) as daemon:
        wait_for(lambda: client.xlen("defects:samples") == 6, 120, daemon)
        wait_for(
            lambda: 'skipped_samples_total{camera="live",cause="budget"}' in fetch(port, "/metrics")[1],
            60,
            daemon,
        )
        kept = re.findall(r'samples_total{camera="live",reason="(\S+)"} (\S+)', fetch(port, "/metrics")[1])
        assert daemon.stop() == 0
    assert dict(kept) == {"flagged": "3.0", "random": "3.0"}
    samples, events = samples_of(valkey, client), events_of(valkey)
    by_id = {event["id"]: event for event in events}
    for sample in samples:
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
