"""The command line, run to its end inside the test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from monitor import cli
from tests.support.daemon_process import ENVIRONMENT


class Ended(NamedTuple):
    """How a command ended: its exit code, and what it printed."""

    code: object
    out: str
    error: str


Command = Callable[..., Ended]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `defect-monitor` with these arguments."""

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["defect-monitor", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Ended(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def unprivileged_command() -> Command:
    """Run `defect-monitor` in a process that may write where its user may, also if that user is root."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv, which takes root's privileges away, is not installed")
        drop = ["setpriv", "--bounding-set", "-all"]

    def run(*arguments: str | Path) -> Ended:
        done = subprocess.run(
            [*drop, sys.executable, "-m", "monitor", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**ENVIRONMENT, **os.environ},
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def assert_refused(ended: Ended, code: int, sentence: str) -> None:
    """Fail unless a command printed this one sentence alone."""
    assert (ended.code, ended.out, ended.error.count("\n")) == (code, "", 1), ended.error
    assert ended.error.startswith("defect-monitor: ")
    assert sentence in ended.error
