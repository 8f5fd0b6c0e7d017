"""A model that a pool of other machines runs, with the model on this machine as its deputy.

The client speaks plain HTTP (`pool_protocol`), never Ray: nothing that comes from the network is unpickled.
"""

import http.client
import logging
import math
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from monitor.errors import InferenceError
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import CamHeat, Classification, Evidence, ModelHandle, Proceed
from monitor.inference.pool_protocol import PoolAnswer, ProtocolError, decode_answer
from monitor.records import Image

logger = logging.getLogger(__name__)

_RETRY_AFTER = 2.0
"""Seconds for which a pool that is away is not asked again, so that it delays one batch, not each."""


_MAX_ANSWER = 64_000_000
"""Bytes of the longest answer that is read."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How a pool is used: `url` of its application, `deadline` in seconds for each batch.

    `fallback` tells what becomes of a batch that it does not answer in time: this machine classifies it, or
    its frames are gaps. `token` is sent with every request; `tls_ca` names the file of the authority that
    signed the pool's certificate.
    """

    url: str
    deadline: float = 0.2
    fallback: Literal["local", "gap"] = "local"
    token: str | None = None
    tls_ca: str | None = None


class PoolClient:
    """One connection to a pool, kept open; used by one thread at a time."""

    def __init__(self, options: PoolOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._parts = urlsplit(options.url)
        self._connection: http.client.HTTPConnection | None = None

    def classify(self, model: str, inputs: NDArray[np.uint8], threshold: float) -> PoolAnswer:
        """Ask for the scores of (b, h, w, 3) uint8 inputs, with heat from `threshold` on.

        Raises InferenceError with the cause `pool-busy` if the pool refuses or is late, else `pool-away`.
        """
        query = f"inputs={len(inputs)}&threshold={threshold!r}"
        data = self._post(f"/v1/classify/{model}?{query}", np.ascontiguousarray(inputs))
        try:
            return decode_answer(data, model, len(inputs))
        except ProtocolError as error:
            raise InferenceError("pool-away", f"{error}; deploy the same version on both sides") from error

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, path: str, body: NDArray[np.uint8]) -> bytes:
        until = self._clock() + self._options.deadline
        is_reused = self._connection is not None
        try:
            try:
                return self._exchange(path, body, until)
            except (ConnectionError, http.client.RemoteDisconnected):
                if not is_reused:  # else the pool closed an idle connection, which tells nothing
                    raise
                self.close()
                return self._exchange(path, body, until)
        except TimeoutError as error:
            self.close()  # the answer may still come: it belongs to no later request
            seconds = f"{self._options.deadline:g} s"
            raise InferenceError("pool-busy", f"the pool did not answer within {seconds}") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise InferenceError("pool-away", f"the pool cannot be reached: {error}") from error
        except InferenceError:
            self.close()
            raise

    def _exchange(self, path: str, body: NDArray[np.uint8], until: float) -> bytes:
        connection = self._connect(until)
        headers = {"Content-Type": "application/octet-stream"}
        if self._options.token:
            headers["Authorization"] = f"Bearer {self._options.token}"
        connection.request("POST", self._parts.path.rstrip("/") + path, body=body.tobytes(), headers=headers)
        self._limit(connection, until)
        response = connection.getresponse()
        data = bytearray()
        while piece := self._read(connection, response, until):
            data += piece
            if len(data) > _MAX_ANSWER:
                raise InferenceError("pool-away", "the pool's answer is too long")
        response.close()  # `read1` leaves it open at its end, and the connection then takes no request
        if response.status == http.client.OK:
            return bytes(data)
        busy = response.status in (http.client.SERVICE_UNAVAILABLE, http.client.TOO_MANY_REQUESTS)
        message = bytes(data[:200]).decode("utf-8", "replace").strip()
        raise InferenceError(
            "pool-busy" if busy else "pool-away", f"the pool answered {response.status}: {message}"
        )

    def _read(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, until: float
    ) -> bytes:
        if connection.sock is not None:
            self._limit(connection, until)
        return response.read1(1 << 18)

    def _connect(self, until: float) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port, seconds = self._parts.hostname or "", self._parts.port, self._left(until)
            if self._parts.scheme == "https":
                context = ssl.create_default_context(cafile=self._options.tls_ca)
                self._connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=seconds)
            self._connection.connect()
        self._limit(self._connection, until)
        return self._connection

    def _limit(self, connection: http.client.HTTPConnection, until: float) -> None:
        connection.sock.settimeout(self._left(until))

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


class PoolModel:
    """A model that a pool runs; see `ModelHandle`. `deputy` is the same model on this machine.

    Its evidence is the heat that came with the scores. With the fallback `gap` the deputy is not loaded and
    never classifies.
    """

    def __init__(
        self,
        deputy: ModelHandle,
        client: PoolClient,
        options: PoolOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = deputy.spec
        self.deputy, self._client, self._options, self._clock = deputy, client, options, clock
        self._away_until = -math.inf
        self._is_away: bool | None = None

    def load(self) -> None:
        """Load the deputy, which must be ready when the pool fails. Raises DeviceError or ModelError."""
        if self._options.fallback == "local":
            self.deputy.load()
            self.device = self.deputy.device
            self.refinement_seconds = self.deputy.refinement_seconds
            self.efficient_batch = self.deputy.efficient_batch
        else:
            self.device = ComputeDevice("cpu", "pool", f"pool at {self._options.url}", "fp32")
            self.refinement_seconds, self.efficient_batch = math.inf, 8

    def classify(self, inputs: NDArray[np.uint8]) -> Classification:
        """Classify (b, h, w, 3) uint8 inputs, in the pool if it answers in time."""
        try:
            answer = self._ask(inputs)
        except InferenceError:
            if self._options.fallback == "gap":
                raise
            return self.deputy.classify(inputs)
        return Classification(answer.scores, answer.novelty, answer.heats, answer.kinds)

    def _ask(self, inputs: NDArray[np.uint8]) -> PoolAnswer:
        if self._clock() < self._away_until:
            raise InferenceError("pool-away", "the pool was away a moment ago")
        try:
            answer = self._client.classify(self.spec.sha256, inputs, self.spec.threshold)
        except InferenceError as error:
            if error.cause == "pool-away":
                self._away_until = self._clock() + _RETRY_AFTER
                if not self._is_away:
                    logger.warning("pool away", extra={"url": self._options.url, "reason": str(error)})
                self._is_away = True
            raise
        if self._is_away:
            logger.warning("pool back", extra={"url": self._options.url})
        self._is_away = False
        return answer

    def explain(self, image: Image, evidence: Evidence | None, proceed: Proceed = lambda: True) -> CamHeat:
        """Return the heat that came with the scores; refine it on this machine where it may compute."""
        if self._options.fallback == "local" and not (isinstance(evidence, CamHeat) and not proceed()):
            return self.deputy.explain(image, None if isinstance(evidence, CamHeat) else evidence, proceed)
        if isinstance(evidence, CamHeat):
            return evidence
        raise InferenceError("pool-away", "the pool sent no heat for this frame")

    def close(self) -> None:
        """Close the connection and free the deputy."""
        self._client.close()
        self.deputy.close()
