"""The whole daemon killed at random moments: what it once called a defect arrives, once, with its picture."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from monitor.models.bundle import save_bundle
from tests.support.camera_faults import FULL_RUN
from tests.support.daemon_process import free_port, logged_events, run_daemon, wait_for, write_config
from tests.support.event_producer import DURABLE_REDIS, Times
from tests.support.events import DeliveryTally
from tests.support.fault_tables import Record
from tests.support.tiny_models import card_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras, saving
    pytest.mark.timeout(3600 if FULL_RUN else 900),
]
FIRST_WORD = 240.0  # seconds until a daemon on a busy machine has said something


@pytest.fixture
def small_bundle(tmp_path: Path) -> Path:
    """A real network, as small as one can be, so that starting it again and again takes little."""
    import keras

    keras.utils.set_random_seed(1)
    picture = keras.Input((32, 32, 3))
    maps = keras.layers.Conv2D(4, 3, strides=8, activation="relu", name="act_last")(picture)
    scores = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(maps))
    return save_bundle(tmp_path / "model", keras.Model(picture, scores), card_of(name="small"), None).path


@pytest.fixture
def config(tmp_path: Path, small_bundle: Path, make_server: Callable[..., Any]) -> tuple[Path, int, Any]:
    """Settings by which every picture of a folder is a defect, twenty a second; the metrics' port; Redis."""
    server, port = make_server(*DURABLE_REDIS), free_port()
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), np.uint8)
        assert cv2.imwrite(str(pictures / f"{number}.png"), noise)
    camera = f'[[camera]]\nname = "c"\nsource = "{pictures}"\nfps = 20\nloop = true\nframes = "newest"\n'
    more = (
        f'[model]\npath = "{small_bundle}"\nthreshold = 0.0\n[outbox]\npath = "{tmp_path}/state/outbox.db"\n'
    )
    return write_config(tmp_path, camera, url=server.url, port=port, more=more), port, server


def test_the_daemon_killed(config: tuple[Path, int, Any], times: Times, record: Record) -> None:
    path, port, server = config
    count, pick = times(2, 100), random.Random(7)
    said: list[str] = []
    for kill in range(count):
        with run_daemon(path, port) as daemon:
            if kill % 10 == 9:  # somewhere in the start
                time.sleep(pick.uniform(0, 8))
            else:
                few = pick.randrange(1, 15)
                wait_for(
                    lambda few=few: len(logged_events(daemon.log.read_text())) >= few, FIRST_WORD, daemon
                )
                time.sleep(pick.uniform(0, 0.2))
            daemon.process.kill()
            daemon.process.wait()
            # Only whole lines count: one that is cut off was not said.
            said += logged_events(re.sub(r"[^\n]*\Z", "", daemon.log.read_text()))
    with run_daemon(path, port) as daemon:
        wait_for(lambda: len(logged_events(daemon.log.read_text())) >= 1, FIRST_WORD, daemon)
        assert daemon.stop(60) == 0
    with server.client() as client:
        stored = [fields[b"id"].decode() for _, fields in client.xrange("defects:events")]
        pictures = sum(bool(client.exists(f"defects:frame:{identity}")) for identity in said)
    counts = Counter(stored)
    wanted = set(said)
    seen = DeliveryTally(
        found=len(said),
        once=sum(counts[identity] == 1 for identity in said),
        lost=sum(counts[identity] == 0 for identity in said),
        doubled=sum(number > 1 for number in counts.values()),
        pictures=pictures,
        ordered=[identity for identity in stored if identity in wanted] == said,
    )
    record(f"the whole daemon killed (-9) at {count} random moments", seen)
    assert seen.flawless, seen
