"""One daemon a camera name: each daemon claims its cameras' names in Redis, and hears when another has them.

A claim lives some seconds and is renewed while its daemon runs, so a daemon that died blocks nobody for long,
and its own next run not at all. A daemon whose names are claimed by another goes on watching.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from monitor.errors import DeliveryError, MonitorError
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys
from monitor.telemetry.supervised_thread import SupervisedThread

logger = logging.getLogger(__name__)


_LIFE = 15.0  # seconds a claim outlives its daemon


class CameraLeases:
    """Claims of `daemon` (an `identity`) to the names of `cameras` below `prefix` at `url`.

    `on_change(camera, other)` is told in a thread of its own which daemon has the name instead, and None once
    that is over. A Redis that is away says nothing about others: then nothing changes.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        daemon: str,
        cameras: Iterable[str],
        *,
        on_conflict: Callable[[str, str | None], None],
        ttl: float = _LIFE,
        timeout: float = 1.0,
        access: RedisCredentials = NO_CREDENTIALS,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)
        self._claim = f"{daemon} {secrets.token_hex(4)}"
        self._on_change, self._life = on_conflict, ttl
        self._timeout = timeout
        self._lock = threading.Lock()  # one asks at a time
        self._answers = True  # whether Redis did, the last time
        self._trouble: str | None = None
        self._cameras = tuple(cameras)
        self._others: dict[str, str] = {}
        self._script = Path(__file__).with_name("lease.lua").read_text(encoding="utf-8")
        self._end = threading.Event()
        self.last_heartbeat = time.monotonic()
        self.thread = SupervisedThread("claims", self, restart_after=1.0)

    def start(self, stop: threading.Event) -> None:
        """Claim the names, then renew the claims until `close`.

        Where another daemon has a name, wait until its claim has run out or `stop` is set. Raises
        MonitorError if it is renewed instead.
        """
        deadline = time.monotonic() + self._life + 1
        while others := self._conflicts("take"):
            if time.monotonic() > deadline:
                camera, other = next(iter(others.items()))
                raise MonitorError(
                    f"camera {camera}: another daemon, {other}, watches a camera of this name and publishes "
                    f"to the same Redis at {self._server.place}: give one another name, or a redis.prefix"
                )
            logger.info("waiting whether the daemon that had these names still runs", extra={"names": others})
            if stop.wait(self._life / 5):
                break
        self.thread.start()

    @property
    def trouble(self) -> str | None:
        """Why Redis was not reached the last time: known within a third of a claim's life, events or not."""
        return self._trouble

    def watch(self, cameras: Iterable[str]) -> None:
        """From now on claim these names, and give back the others."""
        wanted = tuple(cameras)
        gone = [camera for camera in self._cameras if camera not in wanted]
        self._cameras = wanted
        self._execute("release", gone)

    def close(self) -> None:
        """Give the names back."""
        self._end.set()
        if self.thread.is_alive():
            self.thread.join(self._timeout)
        if self._answers and not self.thread.is_alive():  # else they run out by themselves
            self._execute("release", self._cameras)
            self._server.close()

    def run(self) -> None:
        """Renew the leases until `close`; runs in `thread`."""
        while not self._end.wait(self._life / 3):
            self.last_heartbeat = time.monotonic()
            others = self._conflicts("renew")
            if others is None:
                continue
            for camera in {*others, *self._others}:
                if others.get(camera) != self._others.get(camera):
                    self._on_change(camera, others.get(camera))
            self._others = dict(others)

    def _conflicts(self, doing: str) -> Mapping[str, str] | None:
        """Which other daemons have names of ours; None if Redis does not say."""
        cameras = self._cameras
        answers = self._execute(doing, cameras)
        if answers is None:
            return None
        return {
            camera: held.decode(errors="replace").partition(" ")[0]
            for camera, held in zip(cameras, answers, strict=True)
            if held
        }

    def _execute(self, doing: str, cameras: Iterable[str]) -> list[Any] | None:
        names = [self.keys.lease(camera) for camera in cameras]
        if not names:
            return []
        arguments = (doing, self._claim, int(self._life * 1000))
        try:
            with self._lock, self._server.translate_errors("claiming the cameras' names"):
                answers = list(self._server.client.eval(self._script, len(names), *names, *arguments))
        except DeliveryError as error:
            if error.permanent and self._answers:  # of one that is only away, whoever delivers tells
                logger.warning("two daemons with one camera name would not be noticed: %s", error)
            self._answers = False
            self._trouble = None if error.permanent else str(error)
            return None
        self._answers, self._trouble = True, None
        return answers
