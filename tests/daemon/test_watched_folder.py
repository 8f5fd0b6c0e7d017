"""The daemon on a watched folder: each file once, over restarts, whatever its name."""

import os
import shutil
import time
from pathlib import Path

import jsonschema
import pytest

from monitor.simulate.surface import SurfaceGenerator
from monitor.simulate.writers import write_dataset
from tests.support.daemon_process import (
    IN_FULL,
    SCHEMA,
    coverage_of,
    events_of,
    gaps_of,
    run_daemon,
    wait_for,
    write_config,
)

WATCHED = '[[camera]]\nname = "line"\nsource = "{}"\nwatch = true\n'

PATIENCE = 60.0


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six images; the model of these tests flags every one."""
    root = tmp_path_factory.mktemp("defects")
    line = SurfaceGenerator(seed=3, width=512, height=512, defect_rate=1.0, textures=2)
    write_dataset(line, root, train=6, test=0)
    return sorted((root / "Simulated" / "Train").glob("*.PNG"))


def names(url: str) -> list[str]:
    return sorted(event["source_name"] for event in events_of(url))


def test_each_file_is_inspected_once_over_restarts(
    tmp_path: Path, valkey: str, port: int, defects: list[Path], flag_all: str
) -> None:
    folder = tmp_path / "batch [A] 2024"
    folder.mkdir()
    shutil.copy(defects[0], folder / "0.png")
    shutil.copy(defects[1], folder / os.fsdecode(b"gr\xfcn.png"))
    (folder / "._0.png").write_bytes(b"\0\5\x16\7")
    (folder / "notes.txt").write_text("")
    outbox = f'[outbox]\npath = "{tmp_path / "state" / "outbox.db"}"\n'
    (tmp_path / "state").mkdir()
    config = write_config(
        tmp_path, WATCHED.format(folder) + IN_FULL + flag_all + outbox, url=valkey, port=port
    )
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: len(events_of(valkey)) == 2, PATIENCE, daemon)
        # In two steps, in place, and then one moved into place.
        data = defects[2].read_bytes()
        with (folder / "2.png").open("wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            time.sleep(2)
            file.write(data[len(data) // 2 :])
        shutil.copy(defects[3], folder / "3.part")
        (folder / "3.part").rename(folder / "3.png")
        wait_for(lambda: len(events_of(valkey)) == 4, PATIENCE, daemon)
        time.sleep(1)  # a file in work at a stop is inspected again
        assert daemon.stop() == 0
        log = daemon.log.read_text()
    assert "1 other entries: notes.txt" in log
    assert names(valkey) == ["0.png", "2.png", "3.png", "gr\\xfcn.png"]
    for event in events_of(valkey):
        jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
    shutil.copy(defects[4], folder / "4.png")
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: len(events_of(valkey)) == 5, PATIENCE, daemon)
        time.sleep(2)
        assert daemon.stop() == 0
    assert names(valkey) == ["0.png", "2.png", "3.png", "4.png", "gr\\xfcn.png"]
    assert gaps_of(valkey, "line") == []


def test_an_empty_folder_is_observed_and_a_missing_one_is_down(
    tmp_path: Path, valkey: str, port: int, defects: list[Path], flag_all: str
) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    (tmp_path / "state").mkdir()
    config = write_config(tmp_path, WATCHED.format(folder) + flag_all, url=valkey, port=port)
    with run_daemon(config, port, environment={"XDG_STATE_HOME": str(tmp_path / "state")}) as daemon:
        daemon.ready()
        assert daemon.metric('defect_monitor_camera_up{camera="line"}') == 1
        folder.rename(tmp_path / "away")
        wait_for(lambda: daemon.metric('defect_monitor_camera_up{camera="line"}') == 0, PATIENCE, daemon)
        (tmp_path / "away").rename(folder)
        wait_for(lambda: daemon.metric('defect_monitor_camera_up{camera="line"}') == 1, PATIENCE, daemon)
        shutil.copy(defects[5], folder / "5.png")
        wait_for(lambda: names(valkey) == ["5.png"], PATIENCE, daemon)
        assert daemon.stop() == 0
    states = [entry["state"] for entry in coverage_of(valkey) if entry["kind"] == "camera"]
    assert states == ["starting", "up", "down", "up", "ended"]
    assert len(list((tmp_path / "state" / "defect-monitor").glob("inspected-line-*.db"))) == 1
