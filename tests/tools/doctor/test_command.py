"""`defect-monitor doctor` as its user runs it."""

import json
import socket
from pathlib import Path

import cv2
import redis

from tests.support.daemon_process import defect_monitor, free_port, write_config

GOOD = '[[camera]]\nname = "line"\nsource = "simulate:?size=256x256"\nfps = 10\n'


def test_a_wrong_settings_file_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    path.write_text(GOOD + "colour = 1\n")
    done = defect_monitor("doctor", "-c", path)
    assert done.returncode == 2
    assert "unknown key" in done.stderr


def test_all_is_looked_at_and_nothing_is_left_behind(tmp_path: Path, valkey: str) -> None:
    more = f'batch = 1\n[outbox]\npath = "{tmp_path}/state/outbox.db"\n'
    config = write_config(tmp_path, GOOD, url=valkey, port=free_port(), more=more)
    done = defect_monitor("doctor", "-c", config, "--json", "--save-pictures", tmp_path / "seen")
    document = json.loads(done.stdout)
    results = {check["name"]: check["result"] for check in document["checks"]}
    # Whether somebody keeps this machine's clock is not ours to say.
    kept = results.pop("time")
    # The server of the tests keeps nothing on a disk.
    assert results.pop("redis durability") == "not ok"
    assert set(results) == {
        *("device", "model", "tiles", "camera line", "pictures", "redis", "redis rights", "redis memory"),
        *("outbox", "set aside", "clock", "port", "shared memory"),
    }
    assert set(results.values()) == {"ok"}, document
    assert document["ok"] == (kept != "not ok")
    assert done.returncode == (0 if document["ok"] else 1)
    assert "Traceback" not in done.stderr
    assert cv2.imread(str(tmp_path / "seen" / "line.png")).shape == (256, 256, 3)
    assert not (tmp_path / "state").exists()
    with redis.Redis.from_url(valkey) as client:
        assert client.keys("*") == []


def test_all_that_is_wrong_is_said_at_once_without_a_secret(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    secrets = {"CAMERA_PASSWORD": "hunter2", "REDIS_PASSWORD": "hunter3"}
    cameras = (
        '[[camera]]\nname = "door"\nsource = "rtsp://u:${CAMERA_PASSWORD}@127.0.0.1:1/x?token=hunter4"\n'
    )
    more = (
        f'password = "${{REDIS_PASSWORD}}"\n[outbox]\npath = "{tmp_path}/file/o.db"\n[model]\npath = "/no"\n'
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path = tmp_path / "line.toml"
        port = taken.getsockname()[1]
        path.write_text(
            f'[metrics]\nport = {port}\n[redis]\nurl = "redis://u:hunter5@127.0.0.1:1/0"\n{more}{cameras}'
        )
        done = defect_monitor("doctor", "-c", path, environment=secrets)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last_line = done.stderr.splitlines()[-1]
    assert last_line.startswith("defect-monitor: not ok: model, camera door, redis, outbox, ")
    assert "port" in last_line
    assert "→" in done.stdout
    assert "hunter" not in done.stdout + done.stderr
