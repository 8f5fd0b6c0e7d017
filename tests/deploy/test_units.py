"""The units: what systemd's own tools say of them, and that they agree with what is installed."""

import json
import re
import shutil
import subprocess
from inspect import signature
from pathlib import Path

import pytest

from monitor.cli.page import page
from tests.support import ROOT

DAEMON = ["defect-monitor.service", "defect-monitor@.service"]


PAGE = "defect-monitor-page.service"


UNITS = [*DAEMON, PAGE, "defect-monitor-archive.service"]


FOLDER = ROOT / "deploy" / "systemd"


ANALYZE = shutil.which("systemd-analyze")


needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not on this machine")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ANALYZE), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_no_mistake(unit, tmp_path):
    program = tmp_path / "bin" / "defect-monitor"  # it insists that the program is there
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (FOLDER / unit).read_text().replace("/opt/defect-monitor/current", str(tmp_path))
    copy = tmp_path / unit.replace("@", "@line2")
    copy.write_text(text)
    found = analyze("verify", "--man=no", "--recursive-errors=no", copy)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")
    copy.write_text(text.replace("ProtectHome=yes", "ProtectHom=yes"))
    assert "ProtectHom" in analyze("verify", "--man=no", "--recursive-errors=no", copy).stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_exposure_is_low_and_each_exception_is_named_in_the_unit(unit, tmp_path):
    copy = tmp_path / unit.replace("@", "@line2")
    shutil.copy(FOLDER / unit, copy)
    output = analyze("security", "--offline=true", "--no-pager", copy).stdout
    overall = re.search(r"Overall exposure level for \S+: ([0-9.]+)", output)
    assert overall is not None, output
    assert float(overall[1]) <= (1.5 if unit == PAGE else 1.6)
    found = json.loads(analyze("security", "--offline=true", "--json=short", copy).stdout)
    exceptions = {re.split("=", item["name"])[0] for item in found if item["exposure"]}
    comments = [line for line in copy.read_text().splitlines() if line.startswith("#")]
    settings = [line.split("=")[0] for line in copy.read_text().splitlines() if "=" in line]
    for exception in exceptions:
        assert exception in settings or any(f"{exception}=" in comment for comment in comments)


def test_the_template_is_the_unit_with_the_name_of_the_instance():
    plain, template = ((FOLDER / unit).read_text() for unit in DAEMON)
    assert "line.toml" not in template
    assert {"StateDirectory=defect-monitor/%i", "CacheDirectory=defect-monitor/%i"} <= set(
        template.splitlines()
    )
    back = (
        template.replace(" (%i)", "").replace("/%i.toml", "/line.toml").replace("-%i", "").replace("/%i", "")
    )
    assert back.split("\n", 1)[1] == plain.split("\n", 2)[2]


def test_the_service_is_installed_from_versions_that_the_tests_ran_with():
    def pins(path: Path) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9_.-]+)==(\S+)", path.read_text(), re.MULTILINE))

    service, tested = pins(ROOT / "deploy" / "runtime.lock"), pins(ROOT / "requirements.lock")
    assert "tensorflow" in service
    assert service.items() <= tested.items()
    assert "pytest" not in service


def test_the_examples_of_a_proxy_lead_to_the_page_and_say_that_tls_was_spoken():
    port = signature(page).parameters["port"].default
    for name in ("Caddyfile", "nginx.conf"):
        text = (ROOT / "deploy" / "proxy" / name).read_text()
        assert f"127.0.0.1:{port}" in text
        assert "--trusted-proxy 127.0.0.1" in text
    assert "X-Forwarded-Proto $scheme" in text  # Caddy sends it by itself
