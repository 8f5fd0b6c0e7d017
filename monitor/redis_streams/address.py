"""Where a server is and what it wants to know: URLs taken apart, without the network."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class RedisCredentials:
    """What a server wants to know before it lets us in; None and empty: nothing.

    `ca`, `certificate`, `key` are paths of PEM files, for TLS. `sentinel_password` is that of the Sentinels
    themselves.
    """

    username: str | None = None
    password: str | None = None
    sentinel_password: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def options(self) -> dict[str, str]:
        """As the client wants them."""
        given = {
            "username": self.username,
            "password": self.password,
            "ssl_ca_certs": self.ca,
            "ssl_certfile": self.certificate,
            "ssl_keyfile": self.key,
        }
        return {name: value for name, value in given.items() if value}


NO_CREDENTIALS = RedisCredentials()
"""For a server that lets everyone in."""


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """Where to ask for the primary of `service`; `url` has its user, password and database."""

    hosts: list[tuple[str, int]]
    service: str
    url: str

    @property
    def place(self) -> str:
        """What may be shown of it."""
        where = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{where} (Sentinel, {self.service})"


def parse_sentinel_url(url: str) -> SentinelAddress:
    """Take apart `redis://[user:password@]host:port,host:port/service[/db]`; raises ValueError."""
    scheme, _, rest = url.partition("://")
    address, _, path = rest.partition("/")
    credentials, at, hosts = address.rpartition("@")
    service, _, database = path.partition("/")
    if not service or not hosts:
        raise ValueError("no Sentinel or no service")
    parts = [urlsplit(f"//{host}") for host in hosts.split(",")]
    found = [(part.hostname or "", part.port or 26379) for part in parts]
    if not all(host for host, _ in found):
        raise ValueError("a Sentinel without a host")
    return SentinelAddress(found, service, f"{scheme}://{credentials}{at}{found[0][0]}/{database}")


def check_database(url: str) -> None:
    """Refuse what the client would overlook: a database that is no number, as after a `/` in a password."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("the database is no number")


def place_of(url: str) -> str:
    """Host and port, or the socket's path: the part of a URL that may be shown."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
