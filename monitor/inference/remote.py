"""A model that a pool of other machines runs, with the same model on this machine as its deputy.

The client speaks plain HTTP (`pool_protocol`), never Ray: nothing that comes from the network is unpickled.
"""

import http.client
import logging
import math
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from monitor.errors import InferenceError, UsageError
from monitor.inference.device import ComputeDevice
from monitor.inference.handle import CamHeat, Classification, Evidence, ModelHandle, ModelSpec, Proceed
from monitor.inference.pool_protocol import PATH, ProtocolError, decode_answer, encode_request
from monitor.records import Image

logger = logging.getLogger(__name__)

_RETRY_AFTER = 2.0
"""Seconds for which a pool that is away is not asked again, so that it delays one batch, not each."""


_LATE_IN_A_ROW = 2
"""Late answers one after another from which on the pool counts as away."""


_MAX_ANSWER = 64_000_000
"""Bytes of the longest answer that is read."""


_EFFICIENT_BATCH = 8
"""Inputs of one request to a pool at most, where this machine runs no model."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How a pool is used: `url` of its application, `deadline` in seconds for each batch.

    `token` is sent with every request; `tls_ca` names the file of the authority that signed the pool's
    certificate.
    """

    url: str
    deadline: float = 0.2
    token: str | None = field(default=None, repr=False)
    tls_ca: str | None = None


class PoolClient:
    """One connection to a pool, kept open; used by one thread at a time. Raises UsageError for `tls_ca`."""

    def __init__(self, options: PoolOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self._options, self._clock = options, clock
        self._parts = urlsplit(options.url)
        self._connection: http.client.HTTPConnection | None = None
        self._late = 0
        self._context: ssl.SSLContext | None = None
        if self._parts.scheme == "https":
            try:
                self._context = ssl.create_default_context(cafile=options.tls_ca)
            except OSError as error:
                raise UsageError(f"the certificates {options.tls_ca} cannot be read: {error}") from error

    def classify(
        self, model: str, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64]
    ) -> Classification:
        """Ask for the scores of (b, h, w, 3) uint8 inputs, with heat from `thresholds` (b,) on.

        Raises InferenceError with the cause `pool-busy` if the pool refuses or is late, else `pool-away`.
        """
        try:
            data = self._post(PATH + model, encode_request(inputs, thresholds))
            self._late = 0
            return decode_answer(data, model, len(inputs))
        except ProtocolError as error:
            raise InferenceError("pool-away", f"{error}; deploy the same version on both sides") from error
        except TimeoutError as error:
            self.close()  # the answer may still come: it belongs to no later request
            self._late += 1
            seconds = f"{self._options.deadline:g} s"
            cause = "pool-busy" if self._late < _LATE_IN_A_ROW else "pool-away"
            raise InferenceError(cause, f"the pool did not answer within {seconds}") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise InferenceError("pool-away", f"the pool cannot be reached: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, path: str, body: bytes) -> bytes:
        until = self._clock() + self._options.deadline
        if self._connection is not None and self._connection.sock is not None:
            try:
                return self._exchange(self._connection, path, body, until)
            except ConnectionError:  # the pool closed an idle connection, which tells nothing
                self.close()
        self._connection = self._connect(until)
        return self._exchange(self._connection, path, body, until)

    def _connect(self, until: float) -> http.client.HTTPConnection:
        host, port, seconds = self._parts.hostname or "", self._parts.port, self._left(until)
        connection = (
            http.client.HTTPConnection(host, port, timeout=seconds)
            if self._context is None
            else http.client.HTTPSConnection(host, port, timeout=seconds, context=self._context)
        )
        try:
            connection.connect()
        except TimeoutError as error:  # a machine that is off, not a busy one
            raise ConnectionError("no answer to the attempt to connect") from error
        return connection

    def _exchange(
        self, connection: http.client.HTTPConnection, path: str, body: bytes, until: float
    ) -> bytes:
        headers = {"Content-Type": "application/octet-stream"}
        if self._options.token:
            headers["Authorization"] = f"Bearer {self._options.token}"
        sock = connection.sock  # the connection forgets it where the pool closes after its answer
        sock.settimeout(self._left(until))
        connection.request("POST", self._parts.path.rstrip("/") + path, body=body, headers=headers)
        sock.settimeout(self._left(until))
        response = connection.getresponse()
        data = bytearray()
        while piece := response.read1(1 << 18):
            data += piece
            if len(data) > _MAX_ANSWER:
                raise http.client.HTTPException("its answer is too long")
            sock.settimeout(self._left(until))
        response.close()  # `read1` leaves it open at its end, and the connection then takes no request
        if response.status == http.client.OK:
            if response.length:
                raise http.client.IncompleteRead(bytes(data), response.length)
            return bytes(data)
        self._late = 0
        busy = response.status in (http.client.SERVICE_UNAVAILABLE, http.client.TOO_MANY_REQUESTS)
        message = bytes(data[:200]).decode("utf-8", "replace").strip()
        raise InferenceError(
            "pool-busy" if busy else "pool-away", f"the pool answered {response.status}: {message}"
        )

    def _left(self, until: float) -> float:
        left = until - self._clock()
        if left <= 0:
            raise TimeoutError
        return left


class PoolModel:
    """A model that a pool runs; see `ModelHandle`. `deputy` is the same model on this machine.

    The deputy classifies what the pool does not. Without one, `classify` raises InferenceError instead.
    Evidence of the pool is the heat that came with the scores. `on_answer` gets what became of each batch:
    `answered`, or the pool is `busy` or `away`.
    """

    def __init__(
        self,
        spec: ModelSpec,
        options: PoolOptions,
        deputy: ModelHandle | None,
        on_answer: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec, self.deputy = spec, deputy
        self.identity = getattr(deputy, "identity", spec), options
        self.device = ComputeDevice("cpu", "pool", f"pool at {options.url}", "fp32")
        self.refinement_seconds, self.efficient_batch = math.inf, _EFFICIENT_BATCH
        self.problem: str | None = None
        self._client, self._options = PoolClient(options), options
        self._on_answer, self._clock = on_answer, clock
        self._away_until = -math.inf
        self._lock = threading.Lock()  # one request at a time: a challenge asks beside the production

    def load(self) -> None:
        """Load the deputy, which must be ready when the pool fails. Raises DeviceError or ModelError."""
        if self.deputy is not None:
            self.deputy.load()
            here = self.deputy.device
            self.device = replace(here, description=f"pool at {self._options.url}, else {here.description}")
            self.refinement_seconds = self.deputy.refinement_seconds
            self.efficient_batch = self.deputy.efficient_batch

    def classify(
        self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64] | None = None
    ) -> Classification:
        """Classify (b, h, w, 3) uint8 inputs, in the pool if it answers in time."""
        if thresholds is None:
            thresholds = np.full(len(inputs), self.spec.threshold)
        try:
            with self._lock:
                answer = self._ask(inputs, thresholds)
        except InferenceError as error:
            self._on_answer(error.cause.removeprefix("pool-"))
            if self.deputy is None:
                raise
            return self.deputy.classify(inputs, thresholds)
        self._on_answer("answered")
        return answer

    def _ask(self, inputs: NDArray[np.uint8], thresholds: NDArray[np.float64]) -> Classification:
        if self.problem is not None and self._clock() < self._away_until:
            raise InferenceError("pool-away", self.problem)
        try:
            answer = self._client.classify(self.spec.sha256, inputs, thresholds)
        except InferenceError as error:
            if error.cause == "pool-away":
                if self.problem is None:
                    logger.warning("pool away", extra={"url": self._options.url, "reason": str(error)})
                self.problem = str(error)
                self._away_until = self._clock() + _RETRY_AFTER
            raise
        if self.problem is not None:
            logger.warning("pool back", extra={"url": self._options.url})
        self.problem = None
        return answer

    def explain(self, image: Image, evidence: Evidence | None, proceed: Proceed = lambda: True) -> CamHeat:
        """Return the heat that came with the scores; refine it on this machine where it may compute."""
        if not isinstance(evidence, CamHeat):
            if self.deputy is None:
                raise InferenceError("pool-away", "the pool sent no heat for this frame")
            return self.deputy.explain(image, evidence, proceed)
        if self.deputy is None or not proceed():
            return evidence
        return self.deputy.explain(image, None, proceed)

    def close(self) -> None:
        """Close the connection and free the deputy."""
        self._client.close()
        if self.deputy is not None:
            self.deputy.close()
