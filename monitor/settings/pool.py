"""The settings of a pool: one TOML file for `defect-monitor pool`."""

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from monitor.settings.base import SettingsTable


class PoolSettings(SettingsTable):
    """A Ray Serve application that classifies for several line PCs."""

    cluster: str = "auto"
    """Ray cluster: `auto` (default: the one of this machine) or `host:6379`."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "defect-monitor"
    """Name of the application."""
    models: Annotated[tuple[str, ...], Field(min_length=1)] = ("dagm-class1",)
    """Names of shipped models or folders of bundles; each replica holds all of them."""
    host: str = "127.0.0.1"
    """Address that each node listens on (default 127.0.0.1); one that others reach needs `token`."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port of the application (default 8000)."""
    token: SecretStr | None = None
    """Token that line PCs must send (`inference.pool_token`); prefer `${NAME}` to plain text."""
    tls_certificate: str | None = None
    """PEM file of the certificate with which the pool serves HTTPS; the same path on each node."""
    tls_key: str | None = None
    """PEM file of the certificate's private key."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """Where replicas run the network."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Replicas that always run (default 1)."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Replicas at most (default 1). Ray adds and removes them by the number of requests under way."""
    target_requests: Annotated[float, Field(gt=0)] = 8
    """Requests under way in each replica at which Ray adds no more (default 8)."""
    cpus: Annotated[float, Field(ge=0)] = 1
    """Cores of each replica (default 1)."""
    gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs of each replica, or a fraction of one (default 0)."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Requests, and inputs, of a pass at most (default 8)."""
    batch_wait: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Seconds to wait for a full pass (default 0: requests that come during one pass make up the next)."""
    queue: Annotated[int, Field(ge=1)] = 64
    """Requests that wait for a replica (default 64); further ones are refused, and line PCs do without."""

    @model_validator(mode="after")
    def _fit_together(self) -> "PoolSettings":
        if self.token is None and not _is_loopback(self.host):
            raise ValueError(
                f'whoever reaches {self.host} could use the pool: set token, or host = "127.0.0.1"'
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together: set both or none")
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is below min_replicas, {self.min_replicas}")
        return self

    @property
    def url(self) -> str:
        """The address that line PCs get, but for the name of the machine."""
        scheme = "http" if self.tls_key is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
