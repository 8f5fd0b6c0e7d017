"""Cameras that come, go and change: side by side, within a bound, and with nothing left over."""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from monitor.capture.config import CaptureConfig
from monitor.daemon.cameras import CameraConfig, CameraManager
from monitor.daemon.coverage import CoverageRecorder
from monitor.inference.router import ModelRouter
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import ignore
from monitor.records import CameraStateChange, Frame, Gap
from monitor.telemetry.metrics import Metrics
from tests.support.fake_model import FakeModel
from tests.support.recording import RecordingObserver


class FakeCamera:
    """A camera that takes `stop_takes` seconds to stop, and never has a frame."""

    pid = None
    queued = 0
    source_waits = False

    def __init__(self, config: CameraConfig, stop_takes: float, **callbacks: Any) -> None:
        self.name = config.name
        self.config = config
        self.next_frame_number = 0
        self.progressed_at = time.monotonic()
        self.started_with: tuple[int, object] | None = None
        self.ended = False
        self._stop_takes = stop_takes
        self._report = callbacks["report"]

    def start(self, first_number: int, unobserved_since: object) -> None:
        self.started_with = first_number, unobserved_since
        self.next_frame_number = first_number + 7
        self._report(CameraStateChange(self.name, "starting", datetime.now(UTC)))

    def stop(self, timeout: float) -> None:
        time.sleep(min(self._stop_takes, 2 * timeout))
        self.ended = True
        self._report(CameraStateChange(self.name, "ended", datetime.now(UTC)))

    def take(self, limit: int) -> list[Frame]:
        return []

    def drop_queued(self) -> None:
        pass


class Line:
    """A manager of fake cameras."""

    def __init__(self, stop_takes: float = 0.0) -> None:
        self.made: list[FakeCamera] = []
        self.published: list[Gap | CameraStateChange] = []
        metrics = Metrics(CollectorRegistry())
        coverage = CoverageRecorder(metrics, self.published.append)
        self.stage = InferenceStage(ModelRouter(FakeModel()), ignore, ignore, RecordingObserver())

        def create(config: CameraConfig, **callbacks: Any) -> FakeCamera:
            self.made.append(FakeCamera(config, stop_takes, **callbacks))
            return self.made[-1]

        self.manager = CameraManager(create, self.stage, coverage, metrics)


def config(name: str, source: str = "simulate:") -> CameraConfig:
    capture = CaptureConfig(source, every=False, reopen=True, input_size=(4, 4), buffer_slots=4)
    return CameraConfig(name, capture, 3.0, 10.0, None)


def test_twenty_cameras_that_hang_are_stopped_side_by_side() -> None:
    line = Line(stop_takes=60)
    cameras = [config(f"c{number}") for number in range(20)]
    line.manager.update(cameras)
    began = time.monotonic()
    line.manager.update([replace(camera, expected_fps=9.0) for camera in cameras], timeout=0.2)
    assert time.monotonic() - began < 2
    assert len(line.made) == 40


def test_only_what_changed_is_opened_again_and_its_numbers_go_on() -> None:
    line = Line()
    line.manager.update([config("stays"), config("changes"), config("goes")])
    line.manager.update([config("stays"), config("changes", "rtsp://host/"), config("comes")])
    assert [camera.name for camera in line.made] == ["stays", "changes", "goes", "changes", "comes"]
    assert not line.made[0].ended
    again = line.made[3].started_with
    assert again is not None
    assert again[0] == 7
    assert isinstance(again[1], tuple)
    assert again[1][0] == "reload"
    assert line.made[4].started_with == (0, None)
    assert set(line.manager.queued()) == {"stays", "changes", "comes"}


def test_a_camera_that_comes_back_gets_no_number_twice() -> None:
    line = Line()
    line.manager.update([config("stays"), config("goes")])
    line.manager.update([config("stays")])
    assert line.manager.next_frame_numbers() == {"stays": 7, "goes": 7}
    line.manager.update([config("stays"), config("goes")])
    assert line.made[2].started_with == (7, None)
    assert line.manager.next_frame_numbers() == {"stays": 7, "goes": 14}


def test_a_camera_is_not_started_after_the_stop() -> None:
    line = Line()
    line.manager.update([config("a")])
    line.manager.stop(0.1)
    line.manager.update([config("a"), config("b")])
    assert [camera.name for camera in line.made] == ["a"]
    assert line.manager.has_ended


def test_cameras_can_be_observed_while_they_change() -> None:
    line = Line()
    errors: list[Exception] = []
    done = threading.Event()

    def observe() -> None:
        while not done.is_set():
            try:
                line.manager.heartbeats(), line.manager.pids(), line.manager.queued()
            except Exception as error:
                errors.append(error)

    observers = [threading.Thread(target=observe) for _ in range(3)]
    for observer in observers:
        observer.start()
    for number in range(50):
        line.manager.update([config(f"c{index}") for index in range(number % 5)])
    done.set()
    for observer in observers:
        observer.join()
    assert not errors
