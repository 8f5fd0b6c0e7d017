"""A mistake of the user's is one sentence and the right exit code, never a traceback."""

import shutil
import socket
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
import redis

from monitor.tools.demo.embedded_redis import embedded_server
from tests.support import ROOT
from tests.support.daemon_process import (
    coverage_of,
    defect_monitor,
    events_of,
    free_port,
    run_daemon,
    wait_for,
    write_config,
)

CAMERA = '[[camera]]\nname = "one"\nsource = "simulate:"\n'


def refused(done: CompletedProcess[str], code: int, said: str) -> None:
    text = done.stderr
    assert done.returncode == code, text
    assert said in text
    assert "Traceback" not in text
    assert len([line for line in text.splitlines() if line.startswith("defect-monitor:")]) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file"),
        ("[[camera]\n", "not valid TOML"),
        (CAMERA + "[explain]\nmaxn = 3\n", "unknown key; did you mean 'max_n'?"),
        (CAMERA + "[explain]\nmax_n = 'x'\n", "explain.max_n: input should be a valid integer"),
        (CAMERA + CAMERA, "another camera is named 'one' already"),
        (CAMERA.replace("simulate:", "ftp://x"), "kind of source"),
    ],
)
@pytest.mark.parametrize("command", [("run", "-c"), ("check-config",)])
def test_wrong_settings_end_with_2(
    tmp_path: Path, text: str | None, said: str, command: tuple[str, ...]
) -> None:
    path = tmp_path / "line.toml"
    if text is not None:
        path.write_text(text)
    refused(defect_monitor(*command, path), 2, said)


def test_check_config_shows_the_settings_without_secrets(tmp_path: Path) -> None:
    path = write_config(
        tmp_path,
        '[[camera]]\nname = "one"\nsource = "rtsp://u:hunter2@host/x"\n',
        url="redis://:hunter2@host/0",
        port=9464,
    )
    done = defect_monitor("check-config", path)
    assert done.returncode == 0, done.stderr
    assert '"max_age": 604800' in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize("example", sorted((ROOT / "configs").glob("*.toml")), ids=str)
def test_every_example_is_valid(example: Path) -> None:
    done = defect_monitor("check-config", example)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def bundle(tmp_path: Path, shipped_bundle: Path) -> Path:
    """A copy of the shipped model to spoil."""
    return Path(shutil.copytree(shipped_bundle, tmp_path / "model"))


def test_a_model_that_is_missing_broken_or_altered_is_refused(
    tmp_path: Path, bundle: Path, valkey: str
) -> None:
    def run(path: Path) -> CompletedProcess[str]:
        more = f'[model]\npath = "{path}"\n'
        return defect_monitor("run", "-c", write_config(tmp_path, CAMERA, url=valkey, port=0, more=more))

    refused(run(tmp_path / "none"), 1, "there is no model at")
    (network,) = bundle.glob("*.keras")
    content = network.read_bytes()
    network.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(run(bundle), 1, "SHA-256 differs")
    network.unlink()
    refused(run(bundle), 1, "is incomplete")
    (bundle / "card.json").write_text("{")
    refused(run(bundle), 1, "card.json cannot be read")


def test_a_port_that_is_taken_is_refused(tmp_path: Path, valkey: str, small_model: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = write_config(tmp_path, CAMERA, url=valkey, port=port, more=small_model)
        refused(defect_monitor("run", "-c", config), 1, str(port))


def test_with_a_wrong_redis_password_the_daemon_inspects_and_reports_it_without_naming_it(
    tmp_path: Path, small_model: str
) -> None:
    with embedded_server() as url:
        with redis.Redis.from_url(url) as client:
            client.config_set("requirepass", "right")
        wrong, port = url.replace("redis://", "redis://:hunter2@"), free_port()
        config = write_config(tmp_path, CAMERA, url=wrong, port=port, more=small_model)
        with run_daemon(config, port) as daemon:
            wait_for(lambda: daemon.metric("defect_monitor_frames_total") > 0, 200, daemon)
            assert "refuses the user or password" in str(daemon.ready()["degraded"])
            assert daemon.metric("defect_monitor_redis_up") == 0
            with redis.Redis.from_url(url, password="right") as client:
                client.config_set("requirepass", "hunter2")
            wait_for(lambda: daemon.metric("defect_monitor_redis_up") == 1, 60, daemon)
            daemon.stop()
            assert "hunter2" not in daemon.log.read_text()


def test_pictures_that_are_none_are_unusable_and_the_others_are_judged(tmp_path: Path, valkey: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    grey = np.random.default_rng(0).integers(40, 100, (96, 96), np.uint8)
    cv2.imwrite(str(folder / "1.png"), grey)
    (folder / "2.png").write_bytes(b"")
    (folder / "3.png").write_text("no picture")
    cv2.imwrite(str(folder / "4.png"), np.full((1, 1), 90, np.uint8))
    cv2.imwrite(str(folder / "5.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "6.png"), np.dstack([grey, grey, grey, np.full_like(grey, 255)]))
    camera = f'[[camera]]\nname = "f"\nsource = "{folder}"\n'
    done = defect_monitor("run", "-c", write_config(tmp_path, camera, url=valkey, port=0))
    assert done.returncode == 0, done.stderr
    gaps = [entry for entry in coverage_of(valkey) if entry["kind"] == "gap"]
    assert sum(int(gap["frames"]) for gap in gaps) == 3
    assert {gap["cause"] for gap in gaps} == {"unreadable"}
    assert {event["frame_number"] for event in events_of(valkey)} <= {0, 4, 5}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.mp4", None, "no such file"),
        ("empty.mp4", b"", "empty.mp4"),
        ("cut.mp4", b"\0\0\0\x20ftypisom" + bytes(200), "cut.mp4"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_failure(
    tmp_path: Path, valkey: str, small_model: str, *, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    camera = f'[[camera]]\nname = "f"\nsource = "{tmp_path / name}"\n'
    done = defect_monitor("run", "-c", write_config(tmp_path, camera, url=valkey, port=0, more=small_model))
    refused(done, 1, said)
