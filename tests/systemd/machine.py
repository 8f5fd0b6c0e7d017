"""A Debian with a real systemd, booted by systemd-nspawn: the machine on which a new user starts.

Every command and its output goes into a log. The machine has no network but its loopback, so its ports cannot
conflict; what it installs was downloaded before. Its folder is build/systemd.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from tests.support import ROOT

FOLDER = ROOT / "build" / "systemd"
BARE, ARCHIVES, WHEELS = FOLDER / "bare", FOLDER / "archives", FOLDER / "wheels"
SOURCES = "/root/defect-monitor"
RELEASE, MIRROR = "bookworm", "http://deb.debian.org/debian"

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {
    "PATH": _PATH,
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "",
    # Avoids a download of 700 MB at each run.
    "PIP_NO_INDEX": "1",
    "PIP_FIND_LINKS": "/var/cache/wheels",
    "PIP_ROOT_USER_ACTION": "ignore",
}


def why_absent() -> str | None:
    """Return why such a machine cannot run here; None if it can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    for program in ("systemd-nspawn", "debootstrap", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not on this machine"
    return None


def prepare(packages: str) -> None:
    """Download a bare Debian, the files of `packages` and the locked wheels."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (BARE / "etc" / "os-release").exists():
        shutil.rmtree(BARE, ignore_errors=True)
        new = FOLDER / "bare.new"
        shutil.rmtree(new, ignore_errors=True)
        _do("debootstrap", "--variant=minbase", "--include=systemd-sysv", RELEASE, str(new), MIRROR)
        _do("chroot", str(new), "apt-get", "clean")
        new.rename(BARE)
    (ARCHIVES / "partial").mkdir(parents=True, exist_ok=True)
    fetch = f"apt-get update -qq && apt-get install --yes -qq --download-only {packages}"
    _do(
        *("systemd-nspawn", "--quiet", f"--directory={BARE}", "--register=no", "--keep-unit"),
        *(f"--bind={ARCHIVES}:/var/cache/apt/archives", "sh", "-c", fetch),
    )
    WHEELS.mkdir(exist_ok=True)
    wanted = ["--no-deps", "--require-hashes", "-r", str(ROOT / "deploy" / "runtime.lock")]
    _do(sys.executable, "-m", "pip", "download", "--quiet", *wanted, "--dest", str(WHEELS))


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


class Machine:
    """The booted container; `run` runs a command in it as root."""

    def __init__(self, log: TextIO) -> None:
        self._log = log
        self._root = FOLDER / "machine"
        _do("rm", "--recursive", "--force", str(self._root))
        _do("cp", "--archive", "--no-target-directory", str(BARE), str(self._root))
        sources = self._root / SOURCES.removeprefix("/")
        sources.mkdir()
        copied = (
            "Makefile",
            "README.md",
            "LICENSE",
            "pyproject.toml",
            "requirements.lock",
            "configs",
            "deploy",
        )
        _do("cp", "--recursive", *(str(ROOT / name) for name in (*copied, "monitor")), str(sources))
        (self._root / "home" / "someone").mkdir()
        (self._root / "home" / "someone" / "diary").write_text("private\n")
        (self._root / "home" / "someone" / "diary").chmod(0o644)
        with (FOLDER / "console.log").open("w") as console:
            self._process = subprocess.Popen(
                [
                    *("systemd-nspawn", "--quiet", "--boot", f"--directory={self._root}", "--register=no"),
                    *("--keep-unit", "--private-network", "--console=pipe", "--machine=defect-monitor-test"),
                    # systemd filters devices and addresses by BPF, which containers may not as a rule.
                    *("--capability=CAP_BPF,CAP_PERFMON", "--system-call-filter=bpf"),
                    f"--bind={ARCHIVES}:/var/cache/apt/archives",
                    f"--bind-ro={WHEELS}:/var/cache/wheels",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )
        self._until(lambda: bool(self._children()), 30)
        self._leader = self._children()[0]
        self._until(lambda: self.ask("systemctl is-system-running") == "running", 120)
        for words in (  # a route to the outside that ends at once, to test who may use it
            "link add line0 type veth peer name line1",
            "address add 192.0.2.2/24 dev line0",
            "link set line0 up",
            "link set line1 up",
            "route add default via 192.0.2.1",
        ):
            _do("nsenter", f"--target={self._leader}", "--net", "ip", *words.split())

    def _children(self) -> list[str]:
        number = self._process.pid
        return Path(f"/proc/{number}/task/{number}/children").read_text().split()

    def _until(self, true: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert self._process.poll() is None, (FOLDER / "console.log").read_text()
            assert time.monotonic() < deadline, (FOLDER / "console.log").read_text()
            time.sleep(0.2)

    def _enter(self, command: str, timeout: float, folder: str = "/root") -> subprocess.CompletedProcess[str]:
        spaces = ("--mount", "--uts", "--ipc", "--net", "--pid")
        return subprocess.run(
            ["nsenter", f"--target={self._leader}", *spaces, "sh", "-c", f"cd {folder} && {{ {command}\n}}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            env=_ENVIRONMENT,
            check=False,
            start_new_session=True,  # a `kill 0` in there must not reach the tests
        )

    def run(self, command: str, *, code: int = 0, timeout: float = 120, folder: str = "/root") -> str:
        """Run and log a shell command and return its output. Fails if it does not end with `code`."""
        self._log.write(f"# {command}\n")
        done = self._enter(command, timeout, folder)
        self._log.write(done.stdout)
        if done.returncode:
            self._log.write(f"[exit code {done.returncode}]\n")
        self._log.flush()
        assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout.strip()

    def ask(self, command: str) -> str:
        """Run a command like `run`, with any exit code and without a line in the log: for polling."""
        return self._enter(command, 60).stdout.strip()

    def wait_for(self, command: str, answer: str | Callable[[str], bool], seconds: float) -> float:
        """Poll until the answer is right and return the seconds it took. Logs the last answer."""
        began = time.monotonic()
        while True:
            output = self.ask(command)
            took = time.monotonic() - began
            right = output == answer if isinstance(answer, str) else answer(output)
            if right or took > seconds:
                self._log.write(f"# {command}    (after {took:.1f} s)\n{output}\n")
                self._log.flush()
                assert right, f"{command} still answers {output!r}\n{self.journal()[-6000:]}"
                return took
            time.sleep(0.3)

    def show(self, *names: str, unit: str = "defect-monitor") -> list[str]:
        """Return properties of a unit in the given order."""
        asked = " ".join(f"-p {name}" for name in names)
        found = dict(line.split("=", 1) for line in self.ask(f"systemctl show {unit} {asked}").splitlines())
        return [found[name] for name in names]

    def journal(self, unit: str = "defect-monitor") -> str:
        """Return the log of the unit and of systemd about it."""
        return self.ask(f"journalctl --no-pager -o short-monotonic -u {unit}")

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine, and log it."""
        self._log.write(f"# cat > {path}\n{text.rstrip()}\n")
        inside = self._root / path.removeprefix("/")
        if inside.exists():
            inside.write_text(text)  # keeps owner and mode
        else:
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.write_text(text)

    def read(self, path: str) -> str:
        """Return the text of a file."""
        return (self._root / path.removeprefix("/")).read_text()

    def note(self, text: str) -> None:
        """Write a heading to the log."""
        self._log.write(f"\n## {text}\n")
        self._log.flush()

    def close(self) -> None:
        """Power the machine off and remove it."""
        self._enter("systemctl poweroff", 30)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _do("rm", "--recursive", "--force", str(self._root))


def documented_commands(page: str, section: str) -> list[str]:
    """Return the commands of the first `sh` block of a section of a page, without comments."""
    text = (ROOT / page).read_text()
    found = re.search(rf"^## {section}\n.*?^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"{page} has no commands under {section}"
    return [line.split("  # ")[0].rstrip() for line in found[1].splitlines() if line.strip()]
