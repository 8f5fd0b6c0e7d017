"""The servers that the tests run on: the one we embed, Debian's, and those that `.ci/servers` fetches."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from monitor.errors import MonitorError
from monitor.publish.embedded import find_server

EMBEDDED, DEBIANS = "the server we embed", "redis-server"
SERVERS = (EMBEDDED, DEBIANS, "redis-6.2", "redis-8.2", "valkey-8.0")
FETCHED = Path(__file__).parents[2] / "build" / "servers"


def server_program(name: str) -> Path:
    """The program of this name; skips the test where it is not to be had."""
    if name == EMBEDDED:
        try:
            return find_server()
        except MonitorError as error:
            pytest.skip(str(error))
    found = shutil.which(DEBIANS) if name == DEBIANS else None
    program = Path(found) if found else FETCHED / name
    if not os.access(program, os.X_OK):
        pytest.skip(f"there is no {name} on this machine: .ci/servers fetches it")
    if not _runs(program):
        pytest.skip(f"{program} does not run on this machine")
    return program


@cache
def _runs(program: Path) -> bool:
    return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
