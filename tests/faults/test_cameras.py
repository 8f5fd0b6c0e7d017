"""A camera that fails comes back by itself, and what was not seen meanwhile is said, with cause and times."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Barrier

import pytest

from tests.support.camera_faults import (
    BROKEN,
    RECOVERY_LIMIT,
    SILENT,
    TORN,
    CameraUnderTest,
    Fault,
    FaultResult,
    FrameRecorder,
    all_rounds,
)
from tests.support.fault_tables import RecordCamera
from tests.support.rtsp_server import LiveServer, why_absent


def server_killed(place: CameraUnderTest, _: int) -> None:
    place.server.stop()
    time.sleep(3)
    place.server.start()


def connection_reset(place: CameraUnderTest, _: int) -> None:
    place.wire.reset()


def half_open(place: CameraUnderTest, _: int) -> None:
    place.wire.forget()


def stall(place: CameraUnderTest, _: int) -> None:
    place.wire.stall()
    time.sleep(10)
    place.wire.mend()


def corrupted(place: CameraUnderTest, _: int) -> None:
    place.wire.corrupt(0.01)
    time.sleep(10)
    place.wire.mend()


def another_size(place: CameraUnderTest, number: int) -> None:
    place.server.stop()
    width, height = ((640, 480), (160, 120))[number % 2]
    place.server.change(width=width, height=height)
    time.sleep(2)
    place.server.start()


def another_rate(place: CameraUnderTest, number: int) -> None:
    place.server.stop()
    place.server.change(fps=(25, 5)[number % 2])
    time.sleep(2)
    place.server.start()


def wrong_password(place: CameraUnderTest, _: int) -> None:
    place.server.require("wrong")
    place.wire.reset()
    time.sleep(4)
    place.server.require("right")


def frozen(place: CameraUnderTest, _: int) -> None:
    place.server.show("frozen")
    time.sleep(4)
    place.server.show("moving")


def black(place: CameraUnderTest, _: int) -> None:
    place.server.show("black")
    time.sleep(4)
    place.server.show("moving")


def signalled(number: int) -> Callable[[CameraUnderTest, int], None]:
    return lambda place, _: place.signal(number)


FAULTS: list[Fault[CameraUnderTest]] = [
    Fault("server killed, back after 3 s", server_killed, {"refused"}, TORN, direct=True),
    Fault("connection reset", connection_reset, BROKEN, TORN),
    Fault("half-open TCP: the camera's side gone, nobody told", half_open, SILENT, TORN),
    Fault("nothing passes for 10 s", stall, SILENT, TORN),
    Fault(
        "1 % of the bytes corrupted for 10 s",
        corrupted,
        {"damaged", "unreadable", "unusable", "codec", *BROKEN},
        # A corrupted answer may mean anything.
        {"refused", "authentication", "not-found", "no-video", "lost-upstream", *SILENT},
        interrupts=False,
        unsaid=3.0,
        opening=5.0,  # the default of `open_timeout`
    ),
    Fault("camera back after 2 s, another resolution", another_size, {"refused"}, TORN, direct=True),
    Fault("camera back after 2 s, another frame rate", another_rate, {"refused"}, TORN, direct=True),
    Fault("wrong password for 4 s", wrong_password, {"authentication"}, TORN),
    Fault("stream frozen on one picture for 4 s", frozen, {"frozen"}, settings={"frozen": 5}),
    Fault("black stream for 4 s", black, {"unusable"}, interrupts=False),
    Fault("capture process SIGKILL", signalled(signal.SIGKILL), {"crashed"}),
    Fault("capture process SIGSEGV", signalled(signal.SIGSEGV), {"crashed"}),
    Fault("capture process SIGSTOP", signalled(signal.SIGSTOP), {"stalled"}),
]


@dataclass
class SideBySide:
    """The faults under way, and a camera beside them that has none."""

    outcomes: dict[str, Future[list[FaultResult]]]
    spared: FrameRecorder


@pytest.fixture(scope="module")
def side_by_side(request: pytest.FixtureRequest, times: Callable[[int, int], int]) -> Iterator[SideBySide]:
    """All faults that were chosen: they mostly wait."""
    if reason := why_absent():
        pytest.skip(reason)
    asked = [item.callspec.params.get("fault") for item in request.session.items if hasattr(item, "callspec")]
    chosen = [fault for fault in FAULTS if fault in asked]
    count = times(1, 20)
    with (
        LiveServer(fps=10) as server,
        FrameRecorder(server.address("0"), buffer=100) as spared,
        ThreadPoolExecutor(len(chosen) or 1) as pool,
    ):
        spared.wait_for(lambda _: True)
        together = Barrier(len(chosen) or 1)
        started = {fault.name: pool.submit(all_rounds, fault, count, together) for fault in chosen}
        yield SideBySide(started, spared)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_camera_comes_back(
    fault: Fault[CameraUnderTest], side_by_side: SideBySide, record_camera: RecordCamera
) -> None:
    rounds = side_by_side.outcomes[fault.name].result()
    record_camera(fault.name, rounds)
    assert max(one.recovery for one in rounds) <= RECOVERY_LIMIT + fault.opening


def test_a_camera_beside_them_loses_no_frame(side_by_side: SideBySide) -> None:
    wait([*side_by_side.outcomes.values()])
    spared = side_by_side.spared
    spared.wait_for(lambda frame: len(spared.seen) > 50)
    marks = [frame.mark for frame in spared.seen]
    assert marks == list(range(marks[0], marks[0] + len(marks)))
    assert (spared.gaps, spared.states()) == ([], ["starting", "up"])
