"""The daemon on real input: what it was shown, what came out at Redis."""

import signal
import socket
import time
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
import redis

from monitor.tools.demo.embedded_redis import embedded_server
from tests.support.daemon_process import (
    FOLDER,
    IN_FULL,
    SCHEMA,
    coverage_of,
    defect_monitor,
    defects_of,
    events_of,
    overlap,
    run_daemon,
    wait_for,
    write_config,
)
from tests.support.rtsp_server import RtspServer, why_absent

SIMULATED = '[[camera]]\nname = "{}"\nsource = "simulate:?seed=5&defect_rate=0.3"\nfps = 10\n'


def test_a_folder_of_real_images_gives_exactly_its_defects(
    tmp_path: Path, valkey: str, dagm_root: Path, port: int
) -> None:
    split = dagm_root / "Class1" / "Test"
    config = write_config(tmp_path, FOLDER.format(split) + IN_FULL, url=valkey, port=port)
    done = defect_monitor("run", "-c", config)
    assert done.returncode == 0, done.stderr
    events, masks = events_of(valkey), defects_of(split)
    assert sorted(event["frame_number"] for event in events) == sorted(masks)
    for event in events:
        jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
        assert overlap(event["regions"][0], masks[event["frame_number"]]) >= 0.3
        assert (event["image"]["width"], event["image"]["height"]) == (512, 512)
    with redis.Redis.from_url(valkey) as client:
        for event in events:
            jpeg = client.get(event["image"]["frame_key"])
            assert isinstance(jpeg, bytes)
            picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert picture.shape[1] == 512
            assert 0 < client.ttl(event["image"]["frame_key"]) <= 86_400
    assert not [entry for entry in coverage_of(valkey) if entry["kind"] == "gap"]


def test_an_rtsp_stream_of_real_images_is_judged_as_the_images_are(
    tmp_path: Path, valkey: str, dagm_root: Path, port: int
) -> None:
    if reason := why_absent():
        pytest.skip(reason)
    split = dagm_root / "Class1" / "Test"
    masks = list(defects_of(split).values())
    with RtspServer(split, fps=5) as server:
        config = write_config(tmp_path, FOLDER.format(server.url) + IN_FULL, url=valkey, port=port)
        with run_daemon(config, port) as daemon:
            daemon.ready()
            wait_for(lambda: len(events_of(valkey)) >= 5, 60, daemon)
            assert daemon.stop() == 0
    for event in events_of(valkey):
        jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
        assert max(overlap(event["regions"][0], mask) for mask in masks) >= 0.3


def test_a_stop_delivers_what_is_flagged_and_accounts_for_every_frame(
    tmp_path: Path, valkey: str, port: int, flag_all: str
) -> None:
    cameras = SIMULATED.format("left") + "threshold = 0.9\n" + SIMULATED.format("right")
    config = write_config(tmp_path, cameras, url=valkey, port=port, more=flag_all)
    with run_daemon(config, port) as daemon:
        assert daemon.ready()["cameras"].keys() == {"left", "right"}
        wait_for(lambda: len(events_of(valkey)) >= 4, 60, daemon)
        assert daemon.get("/healthz")[0] == 200
        assert daemon.metric("defect_monitor_redis_up") == 1
        assert daemon.metric("defect_monitor_verdict_seconds_count") >= 4
        assert daemon.stop() == 0
        log = daemon.log.read_text()
    events = events_of(valkey)
    assert log.count(" defect ") == len(events)
    assert len({event["id"] for event in events}) == len(events)


def test_a_stop_amid_explanations_does_not_wait_for_frames_that_will_not_come(
    tmp_path: Path, valkey: str, port: int
) -> None:
    fast = '[[camera]]\nname = "fast"\nsource = "simulate:?seed=5&defect_rate=1"\nfps = 8\n'
    slow = '[[camera]]\nname = "slow"\nsource = "simulate:?seed=6&defect_rate=0"\nfps = 0.5\n'
    config = write_config(tmp_path, fast + slow, url=valkey, port=port)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: daemon.metric('defect_monitor_frames_total{camera="slow"') >= 3, 60, daemon)
        assert daemon.stop() == 0, daemon.log.read_text()


def test_without_redis_it_goes_on_looking_and_delivers_when_redis_comes(
    tmp_path: Path, port: int, flag_all: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = int(probe.getsockname()[1])
    url = f"redis://127.0.0.1:{away}/0"
    config = write_config(tmp_path, SIMULATED.format("c"), url=url, port=port, more=flag_all)
    with run_daemon(config, port) as daemon:
        assert daemon.ready()["ok"] is True
        wait_for(
            lambda: daemon.metric('defect_monitor_frames_total{camera="c",outcome="defect"}') >= 2, 60, daemon
        )
        assert daemon.metric("defect_monitor_redis_up") == 0
        assert daemon.metric("defect_monitor_outbox_events") >= 2
        assert "cannot be reached" in daemon.get("/readyz")[1]
        with embedded_server(away) as served:
            wait_for(lambda: daemon.metric("defect_monitor_events_total") >= 2, 40, daemon)
            flagged = daemon.metric('defect_monitor_frames_total{camera="c",outcome="defect"}')
            wait_for(lambda: len(events_of(served)) >= flagged, 30, daemon)
            numbers = [event["frame_number"] for event in events_of(served)]
            assert numbers == sorted(set(numbers))
            assert daemon.stop() == 0


def test_what_could_not_be_delivered_at_the_end_is_said_and_is_a_failure(
    tmp_path: Path, port: int, flag_all: str
) -> None:
    config = write_config(
        tmp_path, SIMULATED.format("c"), url="redis://127.0.0.1:1/0", port=port, more=flag_all
    )
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(
            lambda: daemon.metric('defect_monitor_frames_total{camera="c",outcome="defect"}') >= 1, 60, daemon
        )
        assert daemon.stop() == 1
        assert "were not delivered: Redis at 127.0.0.1:1 cannot be reached" in daemon.log.read_text()


def test_a_second_signal_ends_it_at_once(tmp_path: Path, port: int, flag_all: str) -> None:
    # Redis is away, so that a stop in order would wait for it for seconds.
    config = write_config(
        tmp_path, SIMULATED.format("c"), url="redis://127.0.0.1:1/0", port=port, more=flag_all
    )
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(
            lambda: daemon.metric('defect_monitor_frames_total{camera="c",outcome="defect"}') >= 1, 60, daemon
        )
        daemon.process.send_signal(signal.SIGINT)
        wait_for(lambda: " stopping" in daemon.log.read_text(), 30, daemon)
        asked = time.monotonic()
        daemon.process.send_signal(signal.SIGINT)
        assert daemon.process.wait(5) == 128 + signal.SIGINT
        assert time.monotonic() - asked < 2


def test_a_camera_that_cannot_be_reached_is_said_and_does_not_stop_another(
    tmp_path: Path, valkey: str, port: int, flag_all: str
) -> None:
    cameras = SIMULATED.format("good") + FOLDER.format("rtsp://user:secret@127.0.0.1:1/line")
    config = write_config(tmp_path, cameras, url=valkey, port=port, more=flag_all)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: "camera line is down" in daemon.get("/readyz")[1], 30, daemon)
        wait_for(lambda: len(events_of(valkey)) >= 1, 60, daemon)
        assert daemon.metric('defect_monitor_camera_up{camera="line"}') == 0
        assert daemon.metric('defect_monitor_camera_up{camera="good"}') == 1
        assert daemon.stop() == 0
        assert "secret" not in daemon.log.read_text()
    states = {entry["camera"]: entry for entry in coverage_of(valkey) if entry.get("state") == "down"}
    assert states["line"]["cause"] == "refused"
    assert "secret" not in str(coverage_of(valkey))
