"""Run a pool as its settings say. Ray is imported here alone, and only by the command `pool`."""

from typing import Any

from monitor.cluster import deployment
from monitor.models.bundle import load_bundle
from monitor.models.packing import pack_bundle
from monitor.models.registry import resolve_model_path
from monitor.settings.pool import PoolSettings


def deploy_pool(settings: PoolSettings) -> list[str]:
    """Start or change the pool; return its models. Raises ModelError or ClusterError."""
    bundles = [load_bundle(resolve_model_path(model)) for model in settings.models]
    fields = settings.model_dump(exclude={"cluster", "models", "token"})
    token = None if settings.token is None else settings.token.get_secret_value()
    pool = deployment.PoolDeployment(**fields, token=token)
    deployment.deploy(settings.cluster, [pack_bundle(bundle) for bundle in bundles], pool)
    return [f"{bundle.card.name} ({bundle.card.model.sha256[:12]})" for bundle in bundles]


def pool_status(settings: PoolSettings) -> dict[str, Any]:
    """Return the state of the pool. Raises ClusterError."""
    return deployment.status(settings.cluster, settings.name)


def remove_pool(settings: PoolSettings) -> None:
    """Stop the pool. Raises ClusterError."""
    deployment.remove(settings.cluster, settings.name)
