"""Models that change under a running daemon: no frame is lost, and each event names its model."""

import json
from pathlib import Path

from monitor.models.bundle import ModelBundle
from monitor.models.store import CURRENT, ModelStore
from tests.support.daemon_process import (
    DaemonUnderTest,
    coverage_of,
    events_of,
    run_daemon,
    wait_for,
    write_config,
)
from tests.support.hot_swap import PLAIN, accounted, reload
from tests.support.model_copies import copy_bundle, copy_network

CAMERA = """
[[camera]]
name = "line"
source = "simulate:?seed=5&defect_rate=0.5&size=256x256"
fps = 8
frames = "every"
"""


def degraded(daemon: DaemonUnderTest) -> str:
    return "; ".join(json.loads(daemon.get("/readyz")[1])["degraded"])


def test_models_change_without_the_loss_of_a_frame_and_a_bad_one_changes_nothing(
    tmp_path: Path, valkey: str, port: int, small_bundle: ModelBundle
) -> None:
    store, small = ModelStore(tmp_path / "store"), small_bundle.path
    references = json.loads((small / "card.json").read_text())["references"]
    wrong = [{**references[0], "score": 0.5}, *references[1:]]
    versions = [
        store.add(small),
        store.add(copy_network(tmp_path / "other", small, name="other")),
        store.add(copy_bundle(tmp_path / "bad", small, references=wrong)),
    ]
    hashes = [it.card.model.sha256 for it in reversed(store.versions()) if it.card is not None][:2]

    def promote(index: int) -> None:
        store.promote(versions[index], lambda _: None)

    def wait_for_event_of(sha256: str, daemon: DaemonUnderTest) -> None:
        wait_for(lambda: events_of(valkey)[-1]["model"]["sha256"] == sha256, 120, daemon)

    promote(0)
    more = f'[model]\npath = "{store.root / CURRENT}"\nthreshold = 0.01\n{PLAIN}'
    config = write_config(tmp_path, CAMERA, url=valkey, port=port, more=more)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: bool(events_of(valkey)), 120, daemon)
        promote(2)
        reload(daemon, "the settings are refused")
        assert "reference image 1 scores" in degraded(daemon)
        assert daemon.metric("defect_monitor_last_reload_succeeded") == 0
        for index in (1, 0, 1):
            promote(index)
            reload(daemon, "settings reloaded")
            wait_for_event_of(hashes[index], daemon)
        assert degraded(daemon) == ""
        assert daemon.metric("defect_monitor_last_reload_succeeded") == 1
        assert daemon.stop(60) == 0
    assert {it["model"]["sha256"] for it in events_of(valkey)} == set(hashes)
    assert not [it for it in coverage_of(valkey) if it["kind"] == "gap" and it["frames"] != "0"]
    numbers = accounted(valkey)
    assert sorted(numbers) == list(range(len(numbers)))


def test_a_recipe_changes_threshold_and_region_of_one_camera(
    tmp_path: Path, valkey: str, port: int, flag_all: str
) -> None:
    cameras = CAMERA + CAMERA.replace('"line"', '"other"')
    config = write_config(tmp_path, cameras, url=valkey, port=port, more=flag_all + PLAIN)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/cups.toml").write_text(
        '[[camera]]\nname = "line"\nroi = [0, 0, 128, 128]\nthreshold = 0.0\nexplain = true\n'
    )
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: len(events_of(valkey)) > 2, 120, daemon)
        (tmp_path / "recipes/line.current").symlink_to("cups.toml")
        reload(daemon, "settings reloaded")
        wait_for(lambda: events_of(valkey)[-1].get("recipe") == "cups", 120, daemon)
        wait_for(lambda: len({it["camera"] for it in events_of(valkey)[-8:]}) == 2, 120, daemon)
        assert daemon.stop(60) == 0
    events = events_of(valkey)
    assert {it.get("recipe") for it in events} == {None, "cups"}
    for event in events:
        is_changed = (event["camera"], event["recipe"]) == ("line", "cups")
        assert (event["threshold"] == 0.0) == is_changed
        is_explained = event["explanation"]["method"] != "none"
        assert is_explained or not is_changed
        assert not is_explained or event["camera"] == "line"
        assert all(it["x"] + it["width"] <= 128 for it in event["regions"])
    (change,) = [it for it in coverage_of(valkey) if it["kind"] == "recipe"]
    assert (change["recipe"], change["camera"]) == ("cups", "*")
