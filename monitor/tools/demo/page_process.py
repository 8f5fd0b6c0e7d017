"""Run the operator's page beside the demo, as its users do: in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The reader ends the page when its standard input closes, which happens however the demo ends.
_WATCHDOG_SCRIPT = 'exec 3<&0; { read -r _ <&3; kill -KILL $$; } & exec "$@" </dev/null 3<&-'


@contextmanager
def page_process(settings: str, port: int) -> Iterator[str]:
    """Serve the page of these settings (TOML) at `port`, or a free one, and yield a line with its address.

    Yields the reason in one sentence where the page does not start.
    """
    with tempfile.TemporaryDirectory(prefix="defect-monitor-page-") as folder:
        path, log = Path(folder) / "demo.toml", Path(folder) / "page.log"
        path.write_text(settings)
        for chosen in (port, 0):
            process = _start(path, chosen, log)
            try:
                assert process.stdout is not None
                line = process.stdout.readline().strip()
                if line.startswith("page: ") or chosen == 0:
                    yield line or _reason(log)
                    return
            finally:
                _stop(process)


def _start(settings: Path, port: int, log: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "monitor", "page", "-c", str(settings), "--port", str(port)]
    with log.open("w") as errors:
        return subprocess.Popen(  # noqa: S603 (fixed program and arguments)
            ["/bin/sh", "-c", _WATCHDOG_SCRIPT, "page", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )


def _reason(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return f"no page: {lines[-1].removeprefix('defect-monitor: ') if lines else 'it ended'}"


def _stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()
