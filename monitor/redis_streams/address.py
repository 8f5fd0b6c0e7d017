"""Parse Redis URLs, without the network. No message holds any part of a URL that may be a secret."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, unquote_to_bytes, urlencode, urlsplit

from monitor.errors import UsageError

_FORM = (
    "the Redis URL cannot be read: it is redis://[user:password@]host:port/db, rediss://…, "
    "unix://…, redis+cluster://… or redis+sentinel://host:port,host:port/service/db"
)

_IGNORED = frozenset(
    {
        "client_name",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "legacy_responses",
        "lib_name",
        "lib_version",
        "max_connections",
        "protocol",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_connect_timeout",
        "socket_keepalive",
        "socket_read_size",
        "socket_timeout",
        "timeout",
    }
)
"""Options that other programs need in a shared URL; here they have no effect, as this client sets its own."""

_SENTINEL = ("sentinel_username", "sentinel_password")


_USED = frozenset({"db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", *_SENTINEL})

_SAFE_VALUES = {
    "ssl_cert_reqs": {"required"},
    "ssl_check_hostname": {"true", "yes", "on", "1"},
}
"""Options that may only confirm that the server's certificate is checked."""


@dataclass(frozen=True, slots=True)
class RedisCredentials:
    """User, password and certificates for a server; None and empty: none.

    `ca`, `certificate`, `key` are paths of PEM files, for TLS. `sentinel_username` and `sentinel_password`
    are for the Sentinels themselves.
    """

    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def options(self) -> dict[str, str]:
        """Return them as options of the client."""
        given = {
            "username": self.username,
            "password": self.password,
            "ssl_ca_certs": self.ca,
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
        }
        return {name: value for name, value in given.items() if value}


NO_CREDENTIALS = RedisCredentials()
"""For a server without access control."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis URL, taken apart.

    `url` is for the client: without the kind, with the options that are used; of Sentinels it has the user,
    password and database of the `service` whose primary they know. `place` may be shown. `passwords` are in
    every spelling that a message might repeat.
    """

    kind: Literal["", "cluster", "sentinel"]
    url: str
    place: str
    passwords: tuple[str, ...]
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""

    @property
    def server(self) -> tuple[object, ...]:
        """What names the server and its database: all but the credentials."""
        parts = urlsplit(self.url)
        path = "" if parts.scheme == "unix" else parts.path.strip("/")
        database = dict(parse_qsl(parts.query)).get("db") or path or "0"
        return self.kind, self.is_tls, self.place, self.sentinels, self.service, database

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.url.startswith("rediss")


def parse_redis_url(url: str) -> RedisAddress:
    """Parse `redis://`, `rediss://` (TLS), `unix://`, `redis+cluster://` and `redis+sentinel://` URLs.

    Sentinels: `redis+sentinel://[user:password@]host:port,host:port/service[/db]`, where user and password
    are those of the server, and the options `sentinel_username` and `sentinel_password` of the Sentinels.
    Raises UsageError, whose message shows no part of the URL but the name of an option.
    """
    scheme, _, rest = url.partition("://")
    plain, _, kind = scheme.lower().partition("+")
    if kind not in ("", "cluster", "sentinel") or plain not in ("redis", "rediss", "unix"):
        raise UsageError(_FORM)
    if plain == "unix" and kind:
        raise UsageError(_FORM)
    _refuse_raw_characters(plain, rest)
    try:
        sentinels, service, rest = _split_sentinels(rest) if kind == "sentinel" else ((), "", rest)
        parts = urlsplit(f"{plain}://{rest}")
        options = _checked_options(parts)
        _check_parts(parts)
        of_sentinel = {name: options.pop(name, "") for name in _SENTINEL}
        if any(of_sentinel.values()) and not sentinels:
            raise UsageError("sentinel_username and sentinel_password are for redis+sentinel URLs")
        passwords = _passwords(parts, options.get("password"), of_sentinel["sentinel_password"])
    except ValueError:
        raise UsageError(_FORM) from None
    place = _place(parts)
    if sentinels:
        place = f"{','.join(f'{host}:{port}' for host, port in sentinels)} (Sentinel, {service})"
    query = f"?{urlencode(options)}" if options else ""
    cleaned = f"{plain}://{parts.netloc}{parts.path}{query}"
    return RedisAddress(kind, cleaned, place, passwords, sentinels, service, **of_sentinel)  # type: ignore[arg-type]  # checked above


def _refuse_raw_characters(scheme: str, rest: str) -> None:
    """Refuse a user or password with characters that end it; else its rest would be taken for a host."""
    authority, mark, after = re.match(r"([^/?#]*)(.?)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # matches any text
    inside = "@" in after if scheme != "unix" else "@" not in authority and authority != ""
    if inside or mark == "#" or "#" in after:
        raise UsageError(
            "the Redis URL cannot be read: in its user and password, @ # / ? % must be percent-encoded "
            "(%40 %23 %2F %3F %25), or user and password given apart from the URL"
        )


def _checked_options(parts: SplitResult) -> dict[str, str]:
    used: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "…"
        if name in _SAFE_VALUES and value.lower() not in _SAFE_VALUES[name]:
            raise UsageError(
                f"the Redis URL's option {shown} would switch off the check of the server's certificate: "
                "remove it and name the authority's certificate (redis.tls_ca)"
            )
        if name in _USED:
            used[name] = value
        elif name not in _IGNORED and name not in _SAFE_VALUES:
            raise UsageError(f"the Redis URL's option {shown} is not supported: remove it")
    if not re.fullmatch(r"[0-9]{0,9}", used.get("db", "")):
        raise ValueError("the database is no number")
    if parts.scheme != "rediss" and any(name.startswith("ssl_") for name in used):
        raise UsageError("certificates are for TLS: the Redis URL must begin with rediss")
    return used


def _check_parts(parts: SplitResult) -> None:
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("no path of a socket")
    # The client would ignore a database that is no number, as after a `/` in a password.
    elif not re.fullmatch(r"/?[0-9]*", parts.path):
        raise ValueError("the database is no number")
    elif parts.port == 0:
        raise ValueError("no port")


def _passwords(parts: SplitResult, *options: str | None) -> tuple[str, ...]:
    given = [text for text in (parts.password, *options) if text]
    for text in (parts.username or "", *given):
        unquote_to_bytes(text).decode("utf-8")  # the client would replace what is no UTF-8
    return tuple({*given, *(unquote_to_bytes(text).decode("utf-8") for text in given)})


def _split_sentinels(rest: str) -> tuple[tuple[tuple[str, int], ...], str, str]:
    """Return the Sentinels, the service, and the rest of a URL for the primary itself."""
    address, _, path = rest.partition("/")
    path, mark, query = path.partition("?")
    credentials, at, hosts = address.rpartition("@")
    service, _, database = path.partition("/")
    if not service or not hosts:
        raise ValueError("no Sentinel or no service")
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    found = tuple((part.hostname or "", part.port or 26379) for part in parts)
    if not all(host for host, _ in found):
        raise ValueError("a Sentinel without a host")
    # Any host will do: the primary's is asked of the Sentinels.
    return found, service, f"{credentials}{at}primary/{database}{mark}{query}"


def _place(parts: SplitResult) -> str:
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
