"""Checks the port for metrics and health: free, or in use by a running daemon."""

import re
import urllib.error
import urllib.request

from monitor.errors import PortError
from monitor.telemetry.http_server import check_port as try_port
from monitor.tools.doctor.result import CheckResult, failed, ok

_NAME = "port"


_BUILD = re.compile(r'^defect_monitor_build_info\{.*version="([^"]*)"', re.MULTILINE)


def fetch_page(host: str, port: int, path: str, timeout: float = 3.0) -> str | None:
    """Fetch a page of the daemon at `host` and `port`, whatever its status; None where nothing answers."""
    near = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (only compared)
    shown = f"[{near}]" if ":" in near else near
    # A proxy from the environment must not stand between the doctor and this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{shown}:{port}{path}", timeout=timeout) as answer:
            return str(answer.read().decode(errors="replace"))
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode(errors="replace")
    except (OSError, ValueError):
        return None


def check_port(host: str, port: int) -> CheckResult:
    """Check that the daemon can use the port, or already does."""
    if port == 0:
        return ok(_NAME, "any free port is used")
    try:
        try_port(host, port)
    except PortError as error:
        running = _BUILD.search(fetch_page(host, port, "/metrics") or "")
        if running:
            return ok(
                _NAME, f"{port} of {host} is in use by a running defect-monitor {running[1]}", {"port": port}
            )
        return failed(_NAME, str(error), "set metrics.port or metrics.host, or stop the other program")
    return ok(_NAME, f"{port} of {host} is free", {"port": port})
