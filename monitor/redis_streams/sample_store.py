"""Store frames that are kept for learning: a PNG file each, and an entry of the stream of samples."""

from pathlib import Path

from monitor.errors import DeliveryError
from monitor.events.samples import Sample
from monitor.redis_streams.address import NO_CREDENTIALS, RedisCredentials
from monitor.redis_streams.connection import RedisConnection
from monitor.redis_streams.keys import RedisKeys

_SCRIPT = Path(__file__).with_name("samples.lua")


class SampleStore:
    """Stores samples below `prefix` at a Redis or Valkey URL. One thread at a time.

    - `stream_maxlen`: entries that the stream holds, about
    - `max_bytes`: bytes that all files may take; the oldest are removed first
    - `ttl`: seconds after which a file expires
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        *,
        stream_maxlen: int = 10_000,
        max_bytes: int = 200_000_000,
        ttl: int = 86_400,
        timeout: float = 1.0,
        access: RedisCredentials = NO_CREDENTIALS,
    ) -> None:
        self.keys = RedisKeys(prefix)
        self._server = RedisConnection(url, self.keys, timeout=timeout, access=access)
        self._stream_maxlen, self._max_bytes, self._ttl = stream_maxlen, max_bytes, ttl
        self._script = _SCRIPT.read_text(encoding="utf-8")

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next sample on; see `RedisConnection.set_access`."""
        self._server.set_access(url, access)

    def store(self, sample: Sample, png: bytes) -> None:
        """Store a sample with its file in one step. Raises DeliveryError where nothing is stored."""
        if len(png) > self._max_bytes:
            raise DeliveryError(f"the sample takes {len(png)} bytes, samples.max_bytes is {self._max_bytes}")
        keys = self.keys.samples, self.keys.sample_ledger, self.keys.sample(sample.id)
        limits = self._stream_maxlen, self._ttl, self._max_bytes, self.keys.sample("")
        with self._server.translate_errors("storing a sample"):
            self._server.client.eval(
                self._script, len(keys), *keys, *limits, sample.id, sample.camera, sample.to_json(), png
            )

    def close(self) -> None:
        """Close the connection."""
        self._server.close()
