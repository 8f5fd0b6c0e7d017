"""A line to disturb for hours: streams and a Redis behind wires, simulated cameras, a folder, the daemon."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from monitor.records import Gap
from monitor.simulate.surface import SurfaceGenerator
from tests.soak.accounts import readers_of, sample
from tests.soak.manager import FakeServiceManager, watchdog_seconds
from tests.support.daemon_process import DaemonUnderTest, free_port, gaps_of, run_daemon
from tests.support.event_producer import DURABLE_REDIS
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_servers import ServerProcess
from tests.support.rtsp_server import RtspServer

FPS = int(os.environ.get("FPS", "3"))
"""Of the streams; the others are slower. Hours of it must leave the machine time for the faults."""
STREAMS = ("stream-1", "stream-2")
SIMULATED = ("simulated-1", "simulated-2")
SPARED = "folder"
"""Nothing is ever done to this camera, and it waits for the daemon: it must lose nothing."""

_CAMERA = '[[camera]]\nname = "{}"\nsource = "{}"\nfps = {}\n'
_STREAM = '[[camera]]\nname = "{}"\nsource = "{}"\n'
_SETTINGS = """[redis]
url = "redis://127.0.0.1:{redis}/0"
stream_maxlen = 1_000_000  # all is counted at the end
picture_bytes = 20_000_000
[outbox]
path = "{folder}/state/outbox.db"
[metrics]
port = {port}
[inference]
threads = 2
"""


@dataclass
class LineUnderTest:
    """The daemon, what it watches, where it delivers to, and who manages it."""

    daemon: DaemonUnderTest
    manager: FakeServiceManager
    redis: ServerProcess
    redis_wire: FaultProxy
    servers: dict[str, RtspServer]
    wires: dict[str, FaultProxy]
    config: Path
    _base: str
    guests: list[str] = field(default_factory=list)
    guests_so_far: int = 0

    @property
    def cameras(self) -> list[str]:
        """Those that are watched just now."""
        return [*STREAMS, *SIMULATED, SPARED, *self.guests]

    @property
    def alive(self) -> bool:
        """Whether the daemon still runs."""
        return self.daemon.process.poll() is None

    def page(self) -> str:
        """The metrics."""
        return self.daemon.get("/metrics")[1]

    def reader(self, camera: str) -> int:
        """The capture process of a camera."""
        return readers_of(self.daemon)[camera]

    def write(self) -> None:
        """The settings, with the guests that are there."""
        guests = (_CAMERA.format(name, "simulate:?seed=9&defect_rate=0.1", 2) for name in self.guests)
        self.config.write_text(self._base + "".join(guests))

    def log_from(self, offset: int = 0) -> str:
        """What the daemon has logged since the log was `offset` bytes long."""
        with self.daemon.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode()

    def log_size(self) -> int:
        """How long the log is, in bytes."""
        return self.daemon.log.stat().st_size

    def acknowledged(self) -> float:
        """Events that Redis has taken."""
        return sample(self.page(), "events_total")

    def delivered(self) -> bool:
        """Whether Redis acknowledges, and nothing waits for it."""
        page = self.page()
        return sample(page, "redis_up") == 1 and sample(page, "outbox_events") == 0

    def gaps(self, camera: str) -> list[Gap]:
        """What the coverage stream says of a camera."""
        return gaps_of(self.redis.url, camera)


@contextmanager
def plant(folder: Path, program: Path) -> Iterator[LineUnderTest]:
    """All of it, running; the daemon's log is `line.log` in `folder`."""
    pictures = folder / "pictures"
    pictures.mkdir()
    surface = SurfaceGenerator(5, 512, 512, 0.1)
    for number in range(60):
        assert cv2.imwrite(str(pictures / f"{number}.png"), surface.picture(number))
    redis, port, watchdog = ServerProcess(folder, program, *DURABLE_REDIS), free_port(), watchdog_seconds()
    with ExitStack() as held:
        held.callback(redis.stop)
        redis.start()
        redis_wire = held.enter_context(FaultProxy(redis.port))
        servers = {name: held.enter_context(RtspServer(pictures, fps=FPS)) for name in STREAMS}
        wires = {name: held.enter_context(FaultProxy(server.port)) for name, server in servers.items()}
        base = _SETTINGS.format(redis=redis_wire.port, folder=folder, port=port) + "".join(
            (
                *(
                    _STREAM.format(name, server.address("video", port=wires[name].port))
                    for name, server in servers.items()
                ),
                *(
                    _CAMERA.format(name, f"simulate:?seed={seed}&defect_rate=0.1", round(FPS * 2 / 3, 2))
                    for seed, name in enumerate(SIMULATED, start=1)
                ),
                _CAMERA.format(SPARED, pictures, round(FPS / 3, 2)) + 'loop = true\nframes = "every"\n',
            )
        )
        config = folder / "line.toml"
        config.write_text(base)
        manager = held.enter_context(FakeServiceManager(folder / "notify", watchdog))
        daemon = held.enter_context(run_daemon(config, port, environment=manager.environment))
        yield LineUnderTest(daemon, manager, redis, redis_wire, servers, wires, config, base)


def logged_events(log: str) -> list[str]:
    """The events that the log calls defects, in order."""
    return re.findall(r" defect .*?event=(\S+)", log)
