"""Deploy a pool from its settings. Ray is imported here alone, and only by the command `pool`."""

from collections.abc import Callable
from typing import Any

from monitor.cluster import deployment
from monitor.errors import UsageError
from monitor.models.bundle import load_bundle
from monitor.models.packing import pack_bundle
from monitor.models.registry import resolve_model_path
from monitor.settings.pool import PoolSettings


def deploy_pool(settings: PoolSettings, is_loopback: Callable[[str], bool]) -> list[str]:
    """Start or change the pool; return its models. Raises ModelError, UsageError or ClusterError."""
    if settings.token is None and not is_loopback(settings.host):
        raise UsageError(
            f'whoever reaches {settings.host} could use the pool: set token, or host = "127.0.0.1"'
        )
    bundles = [load_bundle(resolve_model_path(model)) for model in settings.models]
    fields = settings.model_dump(exclude={"cluster", "models", "token"})
    pool = deployment.PoolDeployment(
        **fields, token=None if settings.token is None else settings.token.get_secret_value()
    )
    deployment.deploy(settings.cluster, [pack_bundle(bundle) for bundle in bundles], pool)
    return [f"{bundle.card.name} ({bundle.card.model.sha256[:12]})" for bundle in bundles]


def pool_status(settings: PoolSettings) -> dict[str, Any]:
    """Return the state of the pool. Raises ClusterError."""
    return deployment.status(settings.cluster, settings.name)


def remove_pool(settings: PoolSettings) -> None:
    """Stop the pool. Raises ClusterError."""
    deployment.remove(settings.cluster, settings.name)
