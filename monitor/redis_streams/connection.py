"""One way to reach Redis, and one to say what went wrong with it, for writer and readers alike."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as TooLate
from redis.retry import Retry
from redis.sentinel import Sentinel

from monitor.errors import DeliveryError, UsageError
from monitor.redis_streams.address import (
    NO_CREDENTIALS,
    RedisCredentials,
    SentinelAddress,
    check_database,
    parse_sentinel_url,
    place_of,
)
from monitor.redis_streams.keys import RedisKeys

_PERMANENT_ERRORS = {
    "NOAUTH": "wants a password",
    "NOPERM": "does not permit this user what is needed",
    "WRONGTYPE": "holds something of another type under the key",
    "CROSSSLOT": "is a cluster, and the prefix has no hash tag such as `{line1}`",
}
"""What only a person can mend."""


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
"""What may pass."""


class RedisConnection:
    """A Redis or Valkey server by its URL: `redis://`, `rediss://` (TLS), `unix://`.

    A cluster is given by one of its nodes: `redis+cluster://`, `rediss+cluster://`. Whatever server is the
    primary now, by Sentinels that know it: `redis+sentinel://host:port,host:port/service/db`,
    `rediss+sentinel://…`.

    `timeout` bounds connecting and every answer, in seconds. Nothing is retried here, so that whoever
    calls decides. Making one touches no network. Raises UsageError for a URL that is none, and for a
    cluster's where `keys` could lie on several nodes.
    """

    def __init__(
        self, url: str, keys: RedisKeys, *, timeout: float, access: RedisCredentials = NO_CREDENTIALS
    ) -> None:
        scheme, mark, rest = url.partition("://")
        plain, _, self._kind = scheme.partition("+")
        self._url = plain + mark + rest
        self._client: redis.Redis | redis.RedisCluster | None = None
        self._options: dict[str, Any] = {
            "protocol": 2,  # one shape of replies from every server since 6.2
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "retry": Retry(NoBackoff(), 0),
            "client_name": "defect-monitor",
            **access.options(),
        }
        self._sentinel_password = access.sentinel_password
        if (access.ca or access.certificate) and plain != "rediss":
            raise UsageError("certificates are for TLS: the Redis URL must begin with rediss")
        try:
            if self._kind not in ("", "cluster", "sentinel"):
                raise ValueError("no such kind of server")  # noqa: TRY301 (said below as any other)
            self._sentinels = parse_sentinel_url(self._url) if self._kind == "sentinel" else None
            check_database(self._url if self._sentinels is None else self._sentinels.url)
            pool = redis.ConnectionPool.from_url(
                self._url if self._sentinels is None else self._sentinels.url, **self._options
            )
        except (ValueError, TypeError) as error:
            raise UsageError(
                "the Redis URL cannot be read: it is redis://[user:password@]host:port/db, rediss://…, "
                "unix://…, redis+cluster://… or redis+sentinel://host:port,host:port/service/db"
            ) from _without_secrets(error)
        if self._kind == "cluster" and not keys.has_hash_tag:
            raise UsageError(
                f"on a cluster the prefix must be a hash tag, such as {{{keys.prefix}}}, "
                "so that all keys lie on one node"
            )
        self._secrets = [
            secret
            for secret in (
                *(pool.connection_kwargs.get("password"), access.sentinel_password),
                urlsplit(url if self._sentinels is None else self._sentinels.url).password,
            )
            if secret
        ]
        self.place = place_of(url) if self._sentinels is None else self._sentinels.place
        self._pool_options = pool.connection_kwargs

    @property
    def clustered(self) -> bool:
        """Whether it is a cluster."""
        return self._kind == "cluster"

    @property
    def client(self) -> Any:
        """The client, made when it is first needed. Any: its replies' types are unions nobody can narrow."""
        if self._client is None:
            if self._sentinels is not None:
                self._client = self._by_sentinel(self._sentinels)
            else:
                kind = redis.RedisCluster if self._kind == "cluster" else redis.Redis
                self._client = kind.from_url(self._url, **self._options)
        return self._client

    def node_for(self, key: str) -> Any:
        """A client of the very server that holds the key: on a cluster, of one node."""
        client = self.client
        return client.get_redis_connection(client.get_node_from_key(key)) if self.clustered else client

    def _rediscover(self) -> None:
        """After a failure: forget where the primary was, so that the next try looks for it anew."""
        if self._sentinels is not None:
            self.close()
        elif isinstance(self._client, redis.RedisCluster):
            with suppress(RedisError, RedisClusterException, OSError):
                self._client.nodes_manager.initialize()

    def _by_sentinel(self, sentinels: SentinelAddress) -> Any:
        """A client whose every new connection asks the Sentinels for the primary."""
        tls = {name: value for name, value in self._options.items() if name.startswith("ssl_")}
        own = {"ssl": True, **tls} if self._url.startswith("rediss") else {}
        asking = {
            name: self._options[name]
            for name in ("socket_timeout", "socket_connect_timeout", "protocol", "retry")
        }
        if self._sentinel_password:
            asking["password"] = self._sentinel_password
        credentials = {
            name: self._pool_options[name]
            for name in ("username", "password", "db")
            if self._pool_options.get(name) is not None
        }
        several: Any = Sentinel(sentinels.hosts, sentinel_kwargs={**asking, **own})  # type: ignore[no-untyped-call]  # redis has no types for it
        return several.master_for(sentinels.service, **{**self._options, **own, **credentials})

    def close(self) -> None:
        """Close the connections; the next use opens them anew."""
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
            raise self._describe(error, action) from _without_secrets(error, *self._secrets)

    def _describe(self, error: Exception, doing: str) -> DeliveryError:
        where = f"Redis at {self.place}"
        text = str(error)
        code = str(getattr(error, "status_code", None) or "")
        codes = [code, *re.findall(r"\b[A-Z]{3,}\b", text)]
        if "ACL failure in script" in text or "can't run this command" in text:
            codes.append("NOPERM")  # inside a script Valkey and Redis say it each in their own words
        for word in codes:
            if word in _PERMANENT_ERRORS:
                return DeliveryError(f"{where} {_PERMANENT_ERRORS[word]} ({doing})", permanent=True)
            if word in _TRANSIENT_ERRORS:
                return DeliveryError(f"{where} {_TRANSIENT_ERRORS[word]} ({doing})")
        if isinstance(error, AuthenticationError):
            return DeliveryError(f"{where} refuses the user or password", permanent=True)
        if isinstance(error, TooLate):
            return DeliveryError(f"{where} did not answer in time ({doing})")
        if isinstance(error, NoConnection | OSError):
            cause = re.sub(r"^Error [-\d]+ (connecting to|while \w+ \w+) [^ ]*\s*", "", text)
            return DeliveryError(f"{where} cannot be reached: {_scrubbed(cause, self._secrets).rstrip('.')}")
        return DeliveryError(
            f"{where} answered with an error ({doing}): {_scrubbed(text, self._secrets)}", permanent=True
        )


def _scrubbed(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return " ".join(text.split())


def _without_secrets(error: Exception, *secrets: str) -> Exception:
    """The cause to keep, unless its words would give the password away in a log."""
    if any(secret in str(error) for secret in secrets) or (not secrets and isinstance(error, ValueError)):
        return ValueError(type(error).__name__)
    return error
