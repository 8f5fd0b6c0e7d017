"""Records where the daemon spends its time, as a flame graph or a trace, from outside."""

import shutil
import subprocess
import sys
from pathlib import Path

from monitor.tools.bench.daemon_process import BenchError, run_daemon
from monitor.tools.bench.line import BenchConfig
from monitor.tools.bench.recordings import every_nth, video


def profile(setup: BenchConfig, out: Path) -> None:
    """Record all threads and processes of a daemon on a video with 10 % defects for `setup.seconds`.

    `out` ending in .svg becomes a flame graph for a browser, .json one for speedscope.app.
    Raises BenchError where py-spy is missing or lacks permission.
    """
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    if program is None:
        raise BenchError("--profile needs py-spy: pip install py-spy")
    kind = "flamegraph" if out.suffix == ".svg" else "speedscope"
    recording = video(setup.folder / "one-in-10.mp4", 300, every_nth(10))
    out.parent.mkdir(parents=True, exist_ok=True)
    camera = {"name": "line", "source": recording, "loop": True, "frames": "every"}
    with run_daemon(setup.redis, [camera], setup.more) as daemon:
        daemon.wait_until_passed(100)
        command = [program, "record", "--pid", str(daemon.process.pid), "--output", str(out)]
        options = ["--format", kind, "--subprocesses", "--threads", "--rate", "50"]
        done = subprocess.run(  # noqa: S603 (py-spy, with our own arguments)
            [*command, *options, "--duration", str(max(1, round(setup.seconds)))],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode or not out.exists():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise BenchError(f"py-spy could not record the daemon: {lines[-1]}")
