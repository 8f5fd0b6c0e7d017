"""Targets of the Makefile that a person calls by name never pass by skipping."""

import os
import re
import subprocess
import sys

import pytest

from tests.support import ROOT

NAMED = ("faults", "soak", "soak-hours", "test-systemd")


def commands(target: str) -> str:
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


@pytest.mark.parametrize("target", NAMED)
def test_a_target_that_is_called_by_name_installs_what_it_needs_and_allows_no_skips(target):
    output = commands(target)
    assert re.search(r"^\.ci/setup (required|systemd)$", output, re.MULTILINE)
    assert "--no-skips" in output


def test_a_skipped_test_or_module_fails_with_its_reason(tmp_path):
    (tmp_path / "test_one.py").write_text("import pytest\ndef test_a():\n    pytest.skip('no camera')\n")
    (tmp_path / "test_two.py").write_text(
        "import pytest\npytest.importorskip('absent', reason='no server')\n"
    )
    plugin = ("-p", "tests.support.no_skips", "--continue-on-collection-errors")
    command = (sys.executable, "-m", "pytest", *plugin, "-c", "/dev/null", f"--rootdir={tmp_path}", tmp_path)
    lenient, strict = (
        subprocess.run((*command, *option), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
        for option in ((), ("--no-skips",))
    )
    assert lenient.returncode == 0
    assert strict.returncode == 1
    assert "no camera" in strict.stdout
    assert "no server" in strict.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user")
@pytest.mark.parametrize(
    ("mode", "words"), [("systemd", "only root may do"), ("required", "sudo apt-get install")]
)
def test_set_up_without_root_names_what_is_missing(mode, words, tmp_path):
    """An empty PATH but for the shell's own programs: nothing that the tests need is found."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "sed", "dirname", "id", "grep", "python3"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    tmp_path.chmod(0o755)
    done = subprocess.run(
        ["/usr/bin/setpriv", "--reuid=65534", "--clear-groups", "/bin/sh", ROOT / ".ci/setup", mode],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
