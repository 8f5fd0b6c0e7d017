"""Known frames on their way to a running daemon, and its answers: a list in Redis for each."""

import time
from collections.abc import Sequence
from uuid import uuid4

from monitor.errors import DeliveryError, MonitorError
from monitor.events.challenge import ChallengeAnswer, ChallengeRequest
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys

MAX_IMAGE_BYTES = 64_000_000

_TTL = 120
"""Seconds after which a request that no daemon took, and an answer that nobody fetched, expire."""


class ChallengeQueue:
    """The daemon's side: takes requests and answers them. One thread at a time.

    `timeout` bounds every answer of Redis, in seconds.
    """

    def __init__(
        self, url: str, prefix: str, *, timeout: float = 1.0, access: RedisCredentials = NO_CREDENTIALS
    ) -> None:
        self._keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self._keys, timeout=timeout, access=access)
        self._wait = timeout / 2

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next request on; see `RedisConnection.set_access`."""
        self._server.set_access(url, access)

    def take(self, cameras: Sequence[str]) -> bytes | None:
        """Return a request about one of `cameras`; None if there was none for a moment."""
        keys = [self._keys.challenge(camera) for camera in cameras]
        with self._server.translate_errors("waiting for challenges"):
            found = self._server.client.blpop(keys, timeout=self._wait)
        return None if found is None else bytes(found[1])

    def answer(self, request: ChallengeRequest, answer: ChallengeAnswer) -> None:
        """Leave the answer to a request."""
        key = self._keys.challenge_answer(request.id)
        with self._server.translate_errors("answering a challenge"):
            self._server.client.rpush(key, answer.to_json())
            self._server.client.expire(key, _TTL)

    def close(self) -> None:
        """Close the connection."""
        self._server.close()


class ChallengeClient:
    """Shows frames to the daemon below `prefix` at a Redis or Valkey URL, one at a time.

    A request that no daemon takes within `taken_within` seconds is given up, and so is one without an answer
    within `answered_within`.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "defects",
        *,
        access: RedisCredentials = NO_CREDENTIALS,
        timeout: float = 5.0,
        taken_within: float = 10.0,
        answered_within: float = 120.0,
    ) -> None:
        self._keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self._keys, timeout=timeout, access=access)
        self._wait = timeout / 2
        self._taken_within, self._answered_within = taken_within, answered_within

    def show(self, camera: str, file: str, image: bytes) -> ChallengeAnswer:
        """Have the daemon inspect the image file `image`, called `file`, as a frame of `camera`.

        Raises MonitorError where no daemon takes or answers it, DeliveryError where Redis fails.
        """
        request = ChallengeRequest(id=uuid4().hex, camera=camera, file=file)
        key = self._keys.challenge(camera)
        with self._server.translate_errors("sending a challenge"):
            self._server.client.rpush(key, request.to_bytes(image))
            self._server.client.expire(key, _TTL)
        if (answer := self._wait_for_answer(request, self._taken_within)) is not None:
            return answer
        with self._server.translate_errors("sending a challenge"):
            is_taken = not self._server.client.llen(key)
        if not is_taken:
            raise MonitorError(
                f"no running daemon took the challenge within {self._taken_within:g} s: is one inspecting a "
                f"camera named {camera} with the prefix {self._keys.prefix} at Redis {self._server.place}?"
            )
        answer = self._wait_for_answer(request, self._answered_within - self._taken_within)
        if answer is None:
            raise MonitorError(
                f"the daemon took {file} and did not answer within {self._answered_within:g} s; see its log"
            )
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def _wait_for_answer(self, request: ChallengeRequest, seconds: float) -> ChallengeAnswer | None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            with self._server.translate_errors("waiting for the answer to a challenge"):
                found = self._server.client.blpop(
                    [self._keys.challenge_answer(request.id)], timeout=min(left, self._wait)
                )
            if found is not None:
                try:
                    return ChallengeAnswer.from_json(found[1])
                except ValueError:
                    raise DeliveryError("the daemon's answer is of another version of this program") from None
        return None
