"""Define the settings of the network: where and how it runs, on this machine or in a pool."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from monitor.settings.base import SettingsTable


class InferenceSettings(SettingsTable):
    """Where and how the network runs."""

    device: Literal["auto", "gpu", "cpu"] = "auto"
    """`gpu` requires a GPU and fails without one; `auto` (default) uses a GPU if there is one and logs the
    choice."""
    runtime: Literal["auto", "tensorflow", "openvino"] = "auto"
    """Runtime of the network on a CPU. `auto` (default): the fastest installed one. A GPU always uses
    TensorFlow."""
    precision: Literal["auto", "fp32", "bf16", "mixed-float16", "screened"] = "auto"
    """Arithmetic of the network. `auto` (default): `bf16` on a CPU that runs it faster, `mixed-float16` on a
    GPU, if the model's reference images are classified as in `fp32`. With both, a frame whose score is not
    near 0 or 1 is classified again in `fp32`. `screened`, for OpenVINO and a model that has an early exit:
    the first layers answer for clearly good frames, whose scores are those of the exit; the whole network
    classifies all others in `fp32`."""
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Maximum number of network inputs per batch (default 8)."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Threads for the network on the CPU; 0 (default): one per core."""
    shadow_budget: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Fraction of the time that shadow models (`shadow` of a camera) may take (default 0.1)."""
    pool: str | None = None
    """Address of a pool of machines that classifies instead (`defect-monitor pool deploy`):
    `http://host:port` or `https://…`. Default: this machine classifies."""
    pool_deadline: Annotated[float, Field(gt=0, le=60)] = 0.2
    """Seconds within which the pool must answer a batch of frames (default 0.2)."""
    pool_token: SecretStr | None = None
    """Token that the pool requires; prefer `${NAME}` to plain text. It needs `https://` to stay secret."""
    pool_tls_ca: str | None = None
    """PEM file of the authority that issued the pool's certificate. Default: those of the system."""
    fallback: Literal["local", "gap"] = "local"
    """What happens to frames that the pool refuses or answers too late: this machine classifies them
    (`local`, the default), or they are gaps with the cause `pool-busy` or `pool-away` (`gap`)."""

    @field_validator("pool")
    @classmethod
    def _is_web_address(cls, pool: str | None) -> str | None:
        if pool is not None:
            try:
                parts = urlsplit(pool)
                is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                is_one = False
            if not is_one or parts.username or parts.query or parts.fragment:
                raise ValueError("give the pool's address as http://host:port or https://host:port")
        return pool
