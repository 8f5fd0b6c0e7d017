"""A Ray cluster on this machine, in processes of its own."""

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
    """A head node and further ones. `folder` takes its session. Sockets lie in it: its path must be short."""

    def __init__(self, folder: Path, cpus: int = 2) -> None:
        self._folder, self._cpus, self._port = folder, cpus, free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the head node."""
        self._start(
            "--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self._folder}"
        )

    def add_node(self) -> None:
        """Start one more node with as many cores."""
        self._start(f"--address={self.address}")

    def _start(self, *options: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        command += ["--node-ip-address=127.0.0.1", f"--num-cpus={self._cpus}", "--disable-usage-stats"]
        command += ["--object-store-memory=100000000"]
        path = self._folder / f"ray{len(self._nodes)}.log"
        with path.open("wb") as log:
            node = subprocess.Popen(
                command,
                # Else Ray runs its workers at niceness 15: beside other tests they hardly start.
                env={**ENVIRONMENT, "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._nodes.append(node)
        wait_for(lambda: b"Ray runtime started" in path.read_bytes(), LIMIT)

    def kill(self) -> None:
        """Kill every process of the cluster at once."""
        while self._nodes:
            self.kill_node()

    def kill_node(self) -> None:
        """Kill every process of the node that was started last."""
        node = self._nodes.pop()
        for pid in reversed(_family(node.pid)):
            os.kill(pid, signal.SIGKILL)
        node.wait()

    def replicas(self) -> list[int]:
        """The processes of the pool's replicas."""
        return self.actors("ServeReplica")

    def actors(self, name: str) -> list[int]:
        """The processes of actors of a class."""
        pids = (pid for node in self._nodes for pid in _family(node.pid))
        return [pid for pid in pids if name.encode() in _command(pid)]

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
