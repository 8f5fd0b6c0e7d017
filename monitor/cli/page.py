"""`defect-monitor page`: the operator's page, a process of its own."""

import ipaddress
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import UsageError

app = typer.Typer(help="Serve the operator's page; `page passwd` hashes a password for it.")


@app.callback(invoke_without_command=True)
def page(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings file of the daemon (TOML).")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others reach needs [page.users].")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8460,
    trusted_proxy: Annotated[
        str | None,
        typer.Option(help="Address of the proxy that does TLS; its forwarding headers count. Needs users."),
    ] = None,
) -> None:
    """Show the cameras, what was flagged and what was not inspected, in a browser.

    Reads Redis and the daemon's metrics, and never changes inspection. Stops at Ctrl-C or SIGTERM.
    """
    if context.invoked_subcommand is not None:
        return
    if config is None:
        raise UsageError("page needs the daemon's settings: -c FILE")
    require_page_packages()
    from monitor.bootstrap.web import build_page
    from monitor.cli.process import stop_on_signals
    from monitor.settings import load_settings
    from monitor.telemetry.logs import setup_logging
    from monitor.web.server import bind

    settings = load_settings(config)
    if trusted_proxy is not None:
        _check_address(trusted_proxy)
    if not settings.page.users and (trusted_proxy is not None or not _is_loopback(host)):
        raise UsageError(
            f"whoever reaches {'the proxy' if trusted_proxy else host} could use the page: add users "
            "([page.users], see `defect-monitor page passwd`), or listen on 127.0.0.1"
        )
    setup_logging(settings.log.level, settings.log.format)
    server = build_page(settings, trusted_proxy=trusted_proxy)
    stop_on_signals(server.stop)
    with bind(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        print(f"page: http://{shown}:{listener.getsockname()[1]}/", flush=True)
        server.serve(listener)


@app.command("passwd")
def passwd() -> None:
    """Ask for a password, or read a line of standard input, and print its hash for [page.users]."""
    from monitor.web.passwords import hash_password

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < 8:
        raise UsageError("a password has 8 characters at least")
    print(hash_password(password))


def require_page_packages() -> None:
    """Raise UsageError where the packages of the page are not installed."""
    if any(find_spec(name) is None for name in ("starlette", "uvicorn", "jinja2")):
        raise UsageError("the page needs further packages: run `pip install 'defect-monitor[page]'`")


def _check_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"--trusted-proxy {text}: give the proxy's IP address") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
