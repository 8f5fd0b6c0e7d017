"""`defect-monitor page`: the operator's page, a process of its own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import UsageError


def page(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file of the daemon (TOML).")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8460,
) -> None:
    """Show the cameras, what was flagged and what was not inspected, in a browser.

    Reads Redis and the daemon's metrics, and never changes inspection. Stops at Ctrl-C or SIGTERM.
    """
    from monitor.settings import load_settings
    from monitor.telemetry.logs import setup_logging

    settings = load_settings(config)
    require_page_packages()
    from monitor.bootstrap.web import build_page
    from monitor.web.server import bind

    setup_logging(settings.log.level, settings.log.format)
    server = build_page(settings)
    with bind(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"page: http://{shown}:{listener.getsockname()[1]}/", flush=True)
        server.serve(listener)


def require_page_packages() -> None:
    """Raise UsageError where the packages of the page are not installed."""
    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "jinja2")):
        raise UsageError("the page needs further packages: run `pip install 'defect-monitor[page]'`")
