"""One daemon a camera name: each daemon leases its cameras' names in Redis, and learns when another has them.

A lease lives some seconds and is renewed while its daemon runs. So a daemon that died blocks nobody for long,
and its own next run not at all. A daemon that finds a name leased at its start stands by; one that learns it
later, because both started without Redis, goes on inspecting.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from monitor.errors import DeliveryError
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.telemetry.supervised_thread import SupervisedThread

logger = logging.getLogger(__name__)


_TTL = 15.0  # seconds that a lease outlives its daemon


_STANDBY_INTERVAL = 0.5  # seconds between attempts to take a lease


class CameraLeases:
    """Leases of the daemon with the identity `daemon` on the names of `cameras`, below `prefix` at `url`.

    `on_conflict(camera, other)` is called in a thread of its own with the daemon that has the name instead,
    and with None once that is over. While Redis is away nothing is known of others, and nothing changes.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        daemon: str,
        cameras: Iterable[str],
        *,
        on_conflict: Callable[[str, str | None], None],
        ttl: float = _TTL,
        timeout: float = 1.0,
        access: RedisCredentials = NO_CREDENTIALS,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)
        self._value = f"{daemon} {secrets.token_hex(4)}"
        self._on_conflict = on_conflict
        self.ttl, self._timeout = ttl, timeout
        self._lock = threading.Lock()  # one request at a time
        self._answers = True  # whether Redis answered the last request
        self._problem: str | None = None
        self._cameras = tuple(cameras)
        self._others: dict[str, str] = {}
        self._script = Path(__file__).with_name("lease.lua").read_text(encoding="utf-8")
        self._end = threading.Event()
        self.last_heartbeat = time.monotonic()
        self.thread = SupervisedThread("claims", self, restart_after=1.0)

    def start(
        self, stop: threading.Event, on_standby: Callable[[Mapping[str, str]], None] = lambda _: None
    ) -> bool:
        """Lease the names, then renew the leases until `close`. Returns False if `stop` was set before.

        While another daemon has a name, stand by: call `on_standby` twice a second with the others by camera,
        until the lease has ended. A Redis that is away hides whether that daemon still runs: it then
        has `ttl` seconds from the return of Redis on to renew its lease. If Redis is away from the beginning,
        the names count as leased.
        """
        others: Mapping[str, str] = {}
        free_from = 0.0
        while True:
            may_take = time.monotonic() >= free_from
            found = self._conflicts("take" if may_take else "look")
            if found is None and others:
                free_from = time.monotonic() + self.ttl
            elif not found and may_take:
                break
            others = found or others
            on_standby(others)
            if stop.wait(_STANDBY_INTERVAL):
                return False
        if others:
            logger.info("camera names are leased no longer by another daemon; taking over")
        self.thread.start()
        return True

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next request on; see `RedisConnection.set_access`."""
        self._server.set_access(url, access)

    @property
    def problem(self) -> str | None:
        """Why Redis was not reached the last time; known within a third of `ttl`, with or without events."""
        return self._problem

    def set_cameras(self, cameras: Iterable[str]) -> None:
        """Lease these names from now on, and release the others."""
        names = tuple(cameras)
        gone = [camera for camera in self._cameras if camera not in names]
        self._cameras = names
        self._execute("release", gone)

    def close(self) -> None:
        """Release the names."""
        self._end.set()
        if self.thread.is_alive():
            self.thread.join(self._timeout)
        if self._answers and not self.thread.is_alive():  # else they expire by themselves
            self._execute("release", self._cameras)
            self._server.close()

    def run(self) -> None:
        """Renew the leases until `close`; runs in `thread`, which starts it again after an error."""
        while not self._end.wait(self.ttl / 3):
            self._renew()
            self.last_heartbeat = time.monotonic()

    def _renew(self) -> None:
        others = self._conflicts("renew")
        if others is None:
            return
        for camera in {*others, *self._others}:
            if others.get(camera) != self._others.get(camera):
                self._on_conflict(camera, others.get(camera))
        self._others = dict(others)

    def _conflicts(self, action: str) -> Mapping[str, str] | None:
        """Return which other daemons have names of ours; None if Redis does not answer."""
        cameras = self._cameras
        answers = self._execute(action, cameras)
        if answers is None:
            return None
        return {
            camera: held.decode(errors="replace").partition(" ")[0]
            for camera, held in zip(cameras, answers, strict=True)
            if held
        }

    def _execute(self, action: str, cameras: Iterable[str]) -> list[Any] | None:
        names = [self.keys.lease(camera) for camera in cameras]
        if not names:
            return []
        arguments = (action, self._value, int(self.ttl * 1000))
        try:
            with self._lock, self._server.translate_errors("leasing the cameras' names"):
                answers = list(self._server.client.eval(self._script, len(names), *names, *arguments))
        except DeliveryError as error:
            if error.permanent and self._answers:  # the sender reports one that is only away
                logger.warning("two daemons with one camera name would not be noticed: %s", error)
            self._answers = False
            self._problem = None if error.permanent else str(error)
            return None
        self._answers, self._problem = True, None
        return answers
