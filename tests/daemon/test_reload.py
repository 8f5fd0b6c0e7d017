"""Settings that change under a running daemon, and the time in which no daemon ran."""

import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

from monitor.bootstrap.inference import build_router, explanation_config
from monitor.bootstrap.reload import SettingsReloader
from monitor.daemon.daemon import Reloaded
from monitor.inference.scheduler import DeviceScheduler
from monitor.models.bundle import ModelBundle
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.pipeline.interfaces import SilentObserver, ignore
from monitor.settings import load_settings
from monitor.settings.schema import ModelSettings
from tests.support.busy_device import verdicts_without_a_pause
from tests.support.daemon_process import (
    DaemonUnderTest,
    coverage_of,
    free_port,
    run_daemon,
    wait_for,
    write_config,
)
from tests.support.model_copies import copy_network

CAMERA = '[[camera]]\nname = "{}"\nsource = "simulate:?seed={}&size=128x128"\nfps = {}\n'


def frames(daemon: DaemonUnderTest, camera: str) -> float:
    return daemon.metric(f'defect_monitor_frames_total{{camera="{camera}"')


def changes(url: str, camera: str) -> list[str]:
    return [it["state"] for it in coverage_of(url) if it["kind"] == "camera" and it["camera"] == camera]


def test_cameras_come_go_and_change_without_touching_the_others(
    tmp_path: Path, valkey: str, small_model: str
) -> None:
    port = free_port()

    def write(*cameras: str, more: str = "") -> Path:
        return write_config(tmp_path, "".join(cameras), url=valkey, port=port, more=small_model + more)

    stays, goes = CAMERA.format("stays", 1, 10), CAMERA.format("goes", 2, 5)
    config = write(stays, goes, CAMERA.format("changes", 3, 5))
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: all(frames(daemon, name) > 2 for name in ("stays", "goes", "changes")), 60, daemon)

        config.write_text(config.read_text().replace("fps", "fsp"))
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the settings are refused" in daemon.log.read_text(), 20, daemon)
        assert "did you mean" in daemon.log.read_text()
        before = frames(daemon, "goes")
        wait_for(lambda: frames(daemon, "goes") > before, 20, daemon)

        write(
            stays, CAMERA.format("changes", 3, 7), CAMERA.format("comes", 4, 5), more="[log]\nlevel='debug'"
        )
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: frames(daemon, "comes") > 2, 60, daemon)
        before = frames(daemon, "changes")
        wait_for(lambda: frames(daemon, "changes") > before, 30, daemon)
        assert set(daemon.ready()["cameras"]) == {"stays", "changes", "comes"}
        assert 'camera="goes"' not in daemon.get("/metrics")[1]
        assert "take effect at the next start only: log" in daemon.log.read_text()
        wait_for(lambda: changes(valkey, "goes")[-1:] == ["ended"], 20, daemon)
        assert daemon.stop() == 0
    assert changes(valkey, "stays") == ["starting", "up", "ended"]
    assert changes(valkey, "changes") == ["starting", "up", "ended"] * 2
    (gap,) = [it for it in coverage_of(valkey) if it.get("cause") == "reload"]
    assert gap["camera"] == "changes"


def test_a_reload_that_changes_the_only_camera_does_not_end_the_daemon(
    tmp_path: Path, valkey: str, small_model: str
) -> None:
    port = free_port()
    config = write_config(tmp_path, CAMERA.format("only", 1, 10), url=valkey, port=port, more=small_model)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        for change in range(2, 6):
            before = frames(daemon, "only")
            wait_for(lambda seen=before: frames(daemon, "only") > seen, 60, daemon)  # type: ignore[misc]
            threshold = f"threshold = 0.{change}\n" if change == 5 else ""
            camera = CAMERA.format("only", change, 10)
            write_config(tmp_path, camera, url=valkey, port=port, more=small_model + threshold)
            daemon.process.send_signal(signal.SIGHUP)
            done = change - 1
            wait_for(
                lambda count=done: daemon.log.read_text().count("settings reloaded") == count,  # type: ignore[misc]
                60,
                daemon,
            )
        before = frames(daemon, "only")
        wait_for(lambda: frames(daemon, "only") > before, 60, daemon)
        assert "take effect at the next start only" not in daemon.log.read_text()
        assert daemon.stop() == 0
    numbers = [it for it in coverage_of(valkey) if it.get("cause") == "reload"]
    assert len(numbers) == 4


def test_the_time_in_which_no_daemon_ran_is_a_gap(tmp_path: Path, valkey: str, small_model: str) -> None:
    port = free_port()
    more = f'{small_model}[outbox]\npath = "{tmp_path}/outbox.db"\n'
    config = write_config(tmp_path, CAMERA.format("c", 1, 5), url=valkey, port=port, more=more)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: frames(daemon, "c") > 2, 60, daemon)
        daemon.process.kill()
        killed = datetime.now(UTC)
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: any(it.get("cause") == "not-running" for it in coverage_of(valkey)), 30, daemon)
        assert daemon.stop() == 0
    (gap,) = [it for it in coverage_of(valkey) if it.get("cause") == "not-running"]
    since, until = datetime.fromisoformat(gap["from"]), datetime.fromisoformat(gap["to"])
    assert abs((killed - since).total_seconds()) < 2
    assert until > killed
    assert gap["frames"] == "0"


def test_reloads_do_not_add_up_in_memory(tmp_path: Path, valkey: str, port: int) -> None:
    config = write_config(tmp_path, CAMERA.format("c", 1, 1), url=valkey, port=port)
    memory: list[float] = []
    with run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: frames(daemon, "c") > 1, 60, daemon)
        for number in range(1, 6):
            daemon.process.send_signal(signal.SIGHUP)
            wait_for(
                lambda count=number: daemon.log.read_text().count("settings reloaded") == count, 60, daemon
            )  # type: ignore[misc]
            rollup = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text()
            memory.append(int(rollup.partition("Anonymous:")[2].split()[0]) / 1024)
    # Reloads in threads of their own kept 5.9 MB each, the size of the model's file.
    assert memory[-1] - memory[0] < 10


def test_a_model_is_loaded_and_checked_on_a_line_without_idle_time(
    tmp_path: Path, small_bundle: ModelBundle, small_model: str
) -> None:
    config = tmp_path / "line.toml"
    config.write_text(small_model + CAMERA.format("line", 1, 10))
    other = copy_network(tmp_path / "other", small_bundle.path)
    settings, scheduler = load_settings(config), DeviceScheduler()
    changed = settings.model_copy(update={"model": ModelSettings(path=str(other))})
    router = build_router(settings, scheduler)
    router.load()
    (before,) = router.handles
    reload = SettingsReloader(
        settings,
        lambda: changed,
        router=router,
        scheduler=scheduler,
        explanation=ExplanationStage(explanation_config(settings), ignore, ignore, SilentObserver()),
        set_redis_access=(),
        on_models_changed=ignore,
        on_recipe=ignore,
        on_pool_answer=ignore,
    )
    done: list[Reloaded] = []
    with verdicts_without_a_pause(scheduler):
        thread = threading.Thread(target=lambda: done.append(reload()), daemon=True)
        thread.start()
        thread.join(90)
        assert done
    assert router.handles == [before]  # until the cameras are ready for it
    assert done[0].switch is not None
    done[0].switch()
    assert [handle.spec.sha256 for handle in router.handles] != [before.spec.sha256]
