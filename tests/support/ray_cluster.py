"""A Ray cluster of one node, in processes of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.daemon_process import ENVIRONMENT, children_of, free_port, wait_for

LIMIT = 300
"""Seconds for a start of Ray or of a pool: on a busy machine each new process takes half a minute."""


class RayCluster:
    """A head node; `folder` takes its session. Its path must be short, since sockets lie in it."""

    def __init__(self, folder: Path, cpus: int = 2) -> None:
        self._folder, self._cpus, self._port = folder, cpus, free_port()
        self._log = folder / "ray.log"
        self.address = f"127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += [f"--port={self._port}", "--node-ip-address=127.0.0.1", f"--num-cpus={self._cpus}"]
        command += ["--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=100000000"]
        command += [f"--temp-dir={self._folder}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                # Else Ray runs its workers at niceness 15: beside other tests they hardly start.
                env={**ENVIRONMENT, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(lambda: b"Ray runtime started" in self._log.read_bytes(), LIMIT)

    def kill(self) -> None:
        """Kill every process of the cluster at once."""
        if self._process is not None:
            for pid in reversed(_family(self._process.pid)):
                os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def replicas(self) -> list[int]:
        """The processes of the pool's replicas."""
        return self.actors("ServeReplica")

    def actors(self, name: str) -> list[int]:
        """The processes of actors of a class."""
        assert self._process is not None
        return [pid for pid in _family(self._process.pid) if name.encode() in _command(pid)]

    def pool(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run `defect-monitor pool`."""
        return subprocess.run(
            [sys.executable, "-m", "monitor", "pool", *map(str, arguments)],
            env={**ENVIRONMENT, "RAY_AUTH_MODE": "disabled"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )


def _family(pid: int) -> Sequence[int]:
    return [pid, *(each for child in children_of(pid) for each in _family(child))]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""
