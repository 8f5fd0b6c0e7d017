"""`defect-monitor pool`: machines that classify for several line PCs, on Ray Serve."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.settings.pool import PoolSettings

app = typer.Typer(
    help="Run a pool that classifies for several line PCs, on a Ray cluster.", no_args_is_help=True
)

Config = Annotated[Path, typer.Option("--config", "-c", help="Settings file of the pool (TOML).")]


@app.command()
def deploy(config: Config) -> None:
    """Start the pool, or change a running one."""
    settings = _load(config)
    from monitor.bootstrap.pool import deploy_pool

    models = deploy_pool(settings)
    print(f"pool {settings.name}: {settings.url} holds {', '.join(models)}")


@app.command()
def status(config: Config) -> None:
    """Print the state of the pool and of its replicas as JSON."""
    settings = _load(config)
    from monitor.bootstrap.pool import pool_status

    print(json.dumps(pool_status(settings), indent=2))


@app.command()
def remove(config: Config) -> None:
    """Stop the pool; line PCs go on without it."""
    settings = _load(config)
    from monitor.bootstrap.pool import remove_pool

    remove_pool(settings)
    print(f"pool {settings.name}: removed")


def _load(path: Path) -> "PoolSettings":
    from monitor.settings.loader import load_table
    from monitor.settings.pool import PoolSettings

    settings = load_table(path, PoolSettings)
    if find_spec("ray") is None:
        raise UsageError("a pool needs Ray: run `pip install 'defect-monitor[ray]'`")
    return settings
