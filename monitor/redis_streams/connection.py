"""Connect to Redis, and turn its errors into sentences, for writer and readers alike."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as TooLate
from redis.retry import Retry
from redis.sentinel import Sentinel

from monitor.errors import DeliveryError, UsageError
from monitor.redis_streams.address import NO_CREDENTIALS, RedisAddress, RedisCredentials, parse_redis_url
from monitor.redis_streams.keys import RedisKeys

_PERMANENT_ERRORS = {
    "NOAUTH": "requires a password",
    "NOPERM": "does not permit this user what is needed",
    "WRONGTYPE": "holds something of another type under the key",
    "CROSSSLOT": "is a cluster, and the prefix has no hash tag such as `{line1}`",
}
"""Answers that only a person can fix, by their code."""


_TRANSIENT_ERRORS = {
    "OOM": "has no memory left",
    "READONLY": "is a replica and takes no writes",
    "LOADING": "is still loading its data",
    "BUSY": "is busy with a script",
    "MISCONF": "cannot save to its disk and takes no writes",
    "MASTERDOWN": "has lost its primary",
    "CLUSTERDOWN": "is a cluster that is down",
    "MOVED": "is a node of a cluster that does not hold the key; use a `redis+cluster://` URL",
    "TRYAGAIN": "is moving the key to another node",
}
"""Answers that may pass, by their code."""


@dataclass(frozen=True, slots=True)
class _Target:
    """A server and how to log in."""

    address: RedisAddress
    access: RedisCredentials

    @property
    def secrets(self) -> list[str]:
        """Every password, so that no message repeats one."""
        given = (*self.address.passwords, self.access.password, self.access.sentinel_password)
        return [password for password in given if password]


class RedisConnection:
    """A Redis or Valkey server by its URL: `redis://`, `rediss://` (TLS), `unix://`.

    A cluster is given by one of its nodes: `redis+cluster://`, `rediss+cluster://`. Whatever server is the
    primary now, by Sentinels that know it: `redis+sentinel://host:port,host:port/service/db`,
    `rediss+sentinel://…`.

    `timeout` bounds connecting and every answer, in seconds. Nothing is retried here: the caller decides.
    Construction touches no network. Options of the URL that are meant for other clients, such as `protocol`
    or `decode_responses`, have no effect. Raises UsageError for an invalid URL or option, and for a cluster's
    URL where `keys` could lie on several nodes.
    """

    def __init__(
        self, url: str, keys: RedisKeys, *, timeout: float, access: RedisCredentials = NO_CREDENTIALS
    ) -> None:
        self._keys, self._timeout = keys, timeout
        self._target = self._checked_target(url, access)
        self._client: redis.Redis | redis.RedisCluster | None = None
        self._connected_to: _Target | None = None
        self.place = self._target.address.place

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use other credentials for the same server from the next command on, on a new connection.

        Callable from any thread: a command under way ends on its connection. Raises UsageError as the
        constructor does; then nothing changes.
        """
        target = self._checked_target(url, access)
        if target != self._target:
            self._target = target

    def _checked_target(self, url: str, access: RedisCredentials) -> "_Target":
        address = parse_redis_url(url)
        if (access.ca or access.certificate) and not address.is_tls:
            raise UsageError("certificates are for TLS: the Redis URL must begin with rediss")
        if address.kind == "cluster" and not self._keys.has_hash_tag:
            raise UsageError(
                f"on a cluster the prefix must be a hash tag, such as {{{self._keys.prefix}}}, "
                "so that all keys lie on one node"
            )
        return _Target(address, access)

    @property
    def clustered(self) -> bool:
        """Whether the server is a cluster."""
        return self._target.address.kind == "cluster"

    @property
    def client(self) -> Any:
        """The client, made when first used. Any: its replies are unions of types that cannot be narrowed."""
        target = self._target
        if self._client is not None and self._connected_to is not target:
            self.close()
        if self._client is None:
            if target.address.kind == "sentinel":
                self._client = self._by_sentinel(target)
            else:
                kind = redis.RedisCluster if target.address.kind == "cluster" else redis.Redis
                self._client = kind.from_url(target.address.url, **self._options(target.access))
            self._connected_to = target
        return self._client

    def _options(self, access: RedisCredentials) -> dict[str, Any]:
        return {
            "protocol": 2,  # one shape of replies from every server since 6.2
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "defect-monitor",
            **access.options(),
        }

    def node_for(self, key: str) -> Any:
        """Return a client of the server that holds the key: on a cluster, of one node."""
        client = self.client
        return client.get_redis_connection(client.get_node_from_key(key)) if self.clustered else client

    def _rediscover(self) -> None:
        """After a failure, forget where the primary was, so that the next try looks for it again."""
        if self._target.address.kind == "sentinel":
            self.close()
        elif isinstance(self._client, redis.RedisCluster):
            with suppress(RedisError, RedisClusterException, OSError):
                self._client.nodes_manager.initialize()

    def _by_sentinel(self, target: "_Target") -> Any:
        """Return a client that asks the Sentinels for the primary at each new connection."""
        address, access, options = target.address, target.access, self._options(target.access)
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        given: dict[str, Any] = dict(parse_url(address.url))  # type: ignore[no-untyped-call]  # redis has no types for it
        tls |= {name: value for name, value in given.items() if name.startswith("ssl_")}
        own = {"ssl": True, **tls} if address.is_tls else {}
        asking = {
            name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "protocol", "retry")
        }
        for name, value in (
            ("username", access.sentinel_username or address.sentinel_username),
            ("password", access.sentinel_password or address.sentinel_password),
        ):
            if value:
                asking[name] = value
        credentials = {
            name: given[name] for name in ("username", "password", "db") if given.get(name) is not None
        }
        sentinels: Any = Sentinel(list(address.sentinels), sentinel_kwargs={**asking, **own})  # type: ignore[no-untyped-call]  # redis has no types for it
        return sentinels.master_for(address.service, **{**options, **own, **credentials})

    def close(self) -> None:
        """Close the connections; the next use opens them again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def translate_errors(self, action: str) -> Iterator[None]:
        """Turn whatever the client raises into DeliveryError: one sentence, never with the password."""
        try:
            yield
        except (RedisError, RedisClusterException, OSError) as error:
            self._rediscover()
            raise self._describe(error, action) from _without_secrets(error, *self._target.secrets)

    def _describe(self, error: Exception, action: str) -> DeliveryError:
        where = f"Redis at {self.place}"
        text = str(error)
        code = str(getattr(error, "status_code", None) or "")
        codes = [code, *re.findall(r"\b[A-Z]{3,}\b", text)]
        if "ACL failure in script" in text or "can't run this command" in text:
            codes.append("NOPERM")  # inside a script Valkey and Redis have different words for it
        for word in codes:
            if word in _PERMANENT_ERRORS:
                return DeliveryError(f"{where} {_PERMANENT_ERRORS[word]} ({action})", permanent=True)
            if word in _TRANSIENT_ERRORS:
                return DeliveryError(f"{where} {_TRANSIENT_ERRORS[word]} ({action})")
        if isinstance(error, AuthenticationError):
            return DeliveryError(f"{where} refuses the user or password", permanent=True)
        if isinstance(error, TooLate):
            return DeliveryError(f"{where} did not answer in time ({action})")
        if isinstance(error, NoConnection | OSError):
            cause = re.sub(r"^Error [-\d]+ (connecting to|while \w+ \w+) [^ ]*\s*", "", text)
            return DeliveryError(
                f"{where} cannot be reached: {_scrubbed(cause, self._target.secrets).rstrip('.')}",
                permanent="certificate verify failed" in text,  # the wrong authority stays the wrong one
            )
        return DeliveryError(
            f"{where} answered with an error ({action}): {_scrubbed(text, self._target.secrets)}",
            permanent=True,
        )


def _scrubbed(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return " ".join(text.split())


def _without_secrets(error: Exception, *secrets: str) -> Exception:
    """Return the cause to attach, unless its text would disclose the password in a log."""
    if any(secret in str(error) for secret in secrets) or (not secrets and isinstance(error, ValueError)):
        return ValueError(type(error).__name__)
    return error
