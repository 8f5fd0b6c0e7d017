"""Run `deploy/install.sh` in its own mount namespace, with a stand-in that records what pip is asked."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ROOT

_INTERPRETER = """#!/bin/sh
case "$*" in
"-m venv "*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    printf '#!/bin/sh\\nexit 0\\n' >"$3/bin/defect-monitor"
    chmod 755 "$3/bin/defect-monitor"
    ;;
"-m pip "*) echo "$*" >>"$CALLS" ;;
*cache_tag*) echo "$TAG" ;;
*) exec /usr/bin/python3 "$@" ;;
esac
"""
_NAMESPACE = """set -e
for folder in /opt /etc /usr/local; do mount --bind "$1$folder" "$folder"; done
shift
exec "$@"
"""


def _namespaces() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(
    not _namespaces(), reason="needs root and the right to make a mount namespace"
)

Install = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Make the folders that the script sees as /opt, /etc and /usr/local."""
    root = tmp_path / "root"
    for folder in ("opt", "usr/local"):
        (root / folder).mkdir(parents=True)
    subprocess.run(["cp", "--archive", "/etc", root / "etc"], check=True)
    return root


@pytest.fixture
def install(machine: Path, tmp_path: Path) -> Install:
    interpreter = machine / "usr/local/python"
    interpreter.write_text(_INTERPRETER)
    interpreter.chmod(0o755)

    def run(action: str = "install", *, umask: int = 0o022, **environment: str):
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", _NAMESPACE, "sh", machine, ROOT / "deploy/install.sh", action],
            env={
                **os.environ,
                "PYTHON": "/usr/local/python",
                "CALLS": str(tmp_path / "calls"),
                "TAG": "cpython-311",
                **environment,
            },
            umask=umask,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def releases(machine: Path) -> set[str]:
    return {path.name for path in (machine / "opt/defect-monitor/releases").iterdir()}


def current(machine: Path) -> Path:
    return machine / "opt/defect-monitor" / (machine / "opt/defect-monitor/current").readlink()


def test_the_release_is_readable_for_the_services_user_whatever_roots_umask_is(install, machine):
    done = install(umask=0o077)
    assert done.returncode == 0, done.stderr
    for path in (machine / "opt/defect-monitor", *(machine / "opt/defect-monitor").rglob("*")):
        mode = path.lstat().st_mode
        wanted = 0o005 if stat.S_ISDIR(mode) or mode & 0o100 else 0o004
        assert stat.S_ISLNK(mode) or mode & wanted == wanted, path
    assert (machine / "etc/defect-monitor/secrets").stat().st_mode & 0o777 == 0o700


def test_the_same_sources_are_installed_once(install, machine):
    assert "installing" in install().stdout
    again = install()
    assert (again.returncode, "installing" in again.stdout) == (0, False)
    assert len(releases(machine)) == 1


def test_another_version_of_python_gets_a_release_of_its_own(install, machine):
    install()
    before = current(machine)
    done = install(TAG="cpython-313")
    assert (done.returncode, "installing" in done.stdout) == (0, True)
    assert current(machine) != before
    assert len(releases(machine)) == 2


def test_a_release_that_does_not_run_any_more_is_built_again(install, machine):
    install()
    (current(machine) / "bin/defect-monitor").write_text("#!/bin/sh\nexit 1\n")
    done = install()
    assert (done.returncode, "installing" in done.stdout) == (0, True)
    assert (current(machine) / "bin/defect-monitor").read_text().endswith("exit 0\n")


def test_there_is_no_return_to_a_release_that_does_not_run(install, machine):
    install()
    first = current(machine)
    install(TAG="cpython-313")
    second = current(machine)
    (first / "bin/defect-monitor").write_text("#!/bin/sh\nexit 1\n")
    refused = install("rollback")
    assert (refused.returncode, "does not run" in refused.stderr) == (1, True)
    assert current(machine) == second
    (first / "bin/defect-monitor").write_text("#!/bin/sh\nexit 0\n")
    assert install("rollback").returncode == 0
    assert current(machine) == first


def test_an_interpreter_that_the_services_user_cannot_run_is_refused_before_anything_is_fetched(
    install, machine, tmp_path
):
    private = machine / "usr/local/private"
    private.mkdir(mode=0o700)
    (private / "python").write_text(_INTERPRETER)
    (private / "python").chmod(0o755)
    done = install(PYTHON="/usr/local/private/python")
    assert (done.returncode, "set PYTHON to another interpreter" in done.stderr) == (1, True)
    assert not (tmp_path / "calls").exists()
    assert not (machine / "opt/defect-monitor").exists()


def test_gpu_installs_from_a_lock_file_of_its_own(install, machine, tmp_path):
    assert install(GPU="1").returncode == 0
    assert "-r deploy/runtime-gpu.lock" in (tmp_path / "calls").read_text()
    assert "-gpu-" in current(machine).name
    assert install(GPU="yes").returncode == 2


def test_the_settings_of_redis_are_changed_once_and_on_request_only(install, machine):
    settings = machine / "etc/redis/redis.conf"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text("appendonly no\n")
    assert "make install REDIS=1" in install().stdout
    assert settings.read_text() == "appendonly no\n"
    assert "systemctl restart redis-server" in install(REDIS="1").stdout
    changed = settings.read_text()
    assert changed == "appendonly no\n\ninclude /etc/redis/defect-monitor.conf\n"
    assert "appendonly yes" in (machine / "etc/redis/defect-monitor.conf").read_text()
    assert "redis" not in install(REDIS="1").stdout
    assert settings.read_text() == changed


def test_nothing_is_fetched_without_a_hash(install, tmp_path):
    install()
    calls = (tmp_path / "calls").read_text().splitlines()
    assert any(" check" in call for call in calls)  # a lock file that lacks a dependency is found
    for call in calls:
        if "pip check" in call:
            continue
        assert "--require-hashes" in call or "--no-build-isolation" in call
        assert "--no-deps" in call
