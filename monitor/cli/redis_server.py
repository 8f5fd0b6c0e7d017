"""The options with which a command finds the Redis server that it reads from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from monitor.redis_streams.address import RedisCredentials
    from monitor.redis_streams.challenge import ChallengeClient
    from monitor.redis_streams.consumer_group import MissedEntries, UnreadableEntry
    from monitor.redis_streams.history import StreamHistory
    from monitor.redis_streams.subscriber import Subscriber


_URL = "redis://127.0.0.1:6379/0"


_PREFIX = "defects"


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file: take Redis, prefix and credentials from its [redis]."
    ),
]


Url = Annotated[
    str | None,
    typer.Option(
        envvar="DEFECT_MONITOR_REDIS_URL",
        show_envvar=True,
        help=f"Redis or Valkey server (default: that of the settings file, else {_URL}).",
    ),
]


Prefix = Annotated[str | None, typer.Option(help=f"Prefix of all keys (default: {_PREFIX}).")]


Username = Annotated[
    str | None,
    typer.Option(
        envvar="DEFECT_MONITOR_REDIS_USERNAME", show_envvar=True, help="ACL user, if not in the URL."
    ),
]


Password = Annotated[
    str | None,
    typer.Option(
        envvar="DEFECT_MONITOR_REDIS_PASSWORD", show_envvar=True, help="Password; best by the variable."
    ),
]


TlsCa = Annotated[str | None, typer.Option(help="PEM file of the authority of the server's certificate.")]


TlsCertificate = Annotated[str | None, typer.Option(help="PEM file of the client certificate.")]


TlsKey = Annotated[str | None, typer.Option(help="PEM file of its key.")]


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where to read: options of the command line come before those of the settings file."""

    config: Path | None
    url: str | None
    prefix: str | None
    username: str | None
    password: str | None
    tls_ca: str | None
    tls_certificate: str | None
    tls_key: str | None

    def subscriber(
        self,
        *,
        on_unreadable: "Callable[[UnreadableEntry], None]",
        on_missed: "Callable[[MissedEntries], None]",
        **options: Any,
    ) -> "Subscriber":
        """Return a subscriber that connects when it first reads; `options` are those of `Subscriber`.

        Reads the settings file each time. Raises SettingsError, UsageError.
        """
        from monitor.redis_streams.subscriber import Subscriber

        url, prefix, access = self._address(for_page=False)
        return Subscriber(
            url, prefix, access=access, on_unreadable=on_unreadable, on_missed=on_missed, **options
        )

    def history(self) -> "StreamHistory":
        """Return bounded reads and the one write of the page, with the page's user if it has one.

        Connects when it first reads. Raises SettingsError, UsageError.
        """
        from monitor.redis_streams.history import StreamHistory

        url, prefix, access = self._address(for_page=True)
        return StreamHistory(url, prefix, access=access)

    def challenge(self) -> "ChallengeClient":
        """Return what shows known frames to the daemon, with the page's user if it has one.

        Connects when it shows the first. Raises SettingsError, UsageError.
        """
        from monitor.redis_streams.challenge import ChallengeClient

        url, prefix, access = self._address(for_page=True)
        return ChallengeClient(url, prefix, access=access)

    def _address(self, *, for_page: bool) -> "tuple[str, str, RedisCredentials]":
        from monitor.redis_streams.address import NO_CREDENTIALS

        url, prefix, access = _URL, _PREFIX, NO_CREDENTIALS
        if self.config is not None:
            from monitor.bootstrap.delivery import page_credentials, redis_credentials
            from monitor.settings import load_settings

            settings = load_settings(self.config)
            url, prefix = settings.redis.url.get_secret_value(), settings.redis.prefix
            access = page_credentials(settings) if for_page else redis_credentials(settings)
        given = {"username": self.username, "password": self.password, "ca": self.tls_ca}
        given |= {"certificate": self.tls_certificate, "key": self.tls_key}
        access = replace(access, **{name: value for name, value in given.items() if value})
        return self.url or url, self.prefix or prefix, access
