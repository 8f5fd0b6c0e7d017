"""The archive: whole, without a secret, and honest about what lacks."""

import hashlib
import json
import stat
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry

from monitor.errors import MonitorError
from monitor.telemetry.http_server import HealthReport, start_http_server
from monitor.telemetry.metrics import Metrics
from monitor.tools.support.archive import SupportFile, write_archive
from monitor.tools.support.collect import _log
from tests.support.daemon_process import defect_monitor

AT = datetime(2026, 11, 23, 8, tzinfo=UTC)


SETTINGS = """
[metrics]
port = {port}
[redis]
url = "redis://u:planted-1@127.0.0.1:1/0"
password = "${{REDIS_PASSWORD}}"
[model]
path = "/no/such/model"
[[camera]]
name = "door"
source = "rtsp://u:planted-2@127.0.0.1:1/x?token=planted-3"
[[camera]]
name = "gate"
source = "rtsp://u:${{gate_password}}@127.0.0.1:1/x"
"""


LOG = f"""2026-11-23 info    watching cameras=2
2026-11-23 warning opening rtsp://bob:planted-6@10.0.0.9/live failed
2026-11-23 error   {json.dumps({"why": "planted-4 and planted-5 and " + quote("planted-1 & planted-2")})}
2026-11-23 error   password=planted-7 Authorization: Basic planted-8
2026-11-23 info    camera is up camera=door
"""


def content(path: Path) -> dict[str, str]:
    """The archive's files by their names."""
    with tarfile.open(path) as archive:
        return {
            Path(member.name).name: archive.extractfile(member).read().decode()
            for member in archive.getmembers()
        }


def test_all_is_collected_and_no_secret_is(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "gate_password").write_text("planted-5\n")
    (credentials / "unused").write_text("planted-9\n")
    (tmp_path / "daemon.log").write_text(LOG + "planted-9 planted-10\n")
    environment = {
        "REDIS_PASSWORD": "planted-4",
        "OTHER_TOKEN": "planted-10",
        "CREDENTIALS_DIRECTORY": str(credentials),
    }
    registry = CollectorRegistry()
    Metrics(registry, cameras=["door"], labels=["defect"]).build("1.2.3")
    ready = HealthReport(True, {"degraded": ["camera gate is down"]})
    daemon = start_http_server(
        "127.0.0.1", 0, registry=registry, liveness=lambda: HealthReport(True), readiness=lambda: ready
    )
    config, out = tmp_path / "line.toml", tmp_path / "help.tar.gz"
    config.write_text(SETTINGS.format(port=daemon.port))
    arguments = ("support-bundle", "-c", config, "--out", out, "--log", tmp_path / "daemon.log")
    try:
        done = defect_monitor(*arguments, environment=environment, timeout=240)
    finally:
        daemon.close()
    assert done.returncode == 0, done.stderr
    assert "not collected" not in done.stdout
    files = content(out)
    assert "planted" not in "".join(files.values()) + done.stdout + done.stderr
    assert {"tensorflow", "redis", "opencv-python"} <= json.loads(files["versions.json"])["packages"].keys()
    assert json.loads(files["settings.json"])["redis"]["url"] == "**********"
    assert "camera is up camera=door" in files["log.txt"]
    assert 'defect_monitor_build_info{version="1.2.3"} 1.0' in files["metrics.txt"]
    assert json.loads(files["readyz.json"])["degraded"] == ["camera gate is down"]
    checks = {check["name"]: check for check in json.loads(files["doctor.json"])["checks"]}
    assert checks["camera door"]["result"] == "not ok"
    assert "in use by a running defect-monitor 1.2.3" in checks["port"]["what"]
    listed = {file["file"]: file["sha256"] for file in json.loads(files["manifest.json"])["files"]}
    assert listed == {
        name: hashlib.sha256(text.encode()).hexdigest()
        for name, text in files.items()
        if name != "manifest.json"
    }
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()
    again = defect_monitor(*arguments)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    assert out.read_bytes() == before


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text('[redis]\npassword = "planted-1"\ncolour = "planted-2"\n')
    out = tmp_path / "help.tar.gz"
    arguments = ("-c", tmp_path / "wrong.toml", "--log", tmp_path / "none.log", "--out", out)
    done = defect_monitor("support-bundle", *arguments)
    assert done.returncode == 0, done.stderr
    files = content(out)
    missing = {entry["file"]: entry["why"] for entry in json.loads(files["manifest.json"])["missing"]}
    assert "unknown key" in missing["settings.json"]
    assert "No such file" in missing["log.txt"]
    assert "exit code 2" in missing["doctor.json"]
    assert "is the daemon running?" in missing["metrics.txt"]
    for why in missing.values():
        assert why in done.stdout
    assert "planted" not in "".join(files.values()) + done.stdout


def test_something_in_the_way_is_left_as_it_is(tmp_path: Path) -> None:
    out = tmp_path / "help.tar.gz"
    out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MonitorError, match="already exists"):
        write_archive(out, [SupportFile("a", "b", "c")], "1", AT)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(MonitorError, match="cannot write"):
        write_archive(tmp_path / "no" / "such.tar.gz", [], "1", AT)


def test_of_a_large_log_the_end_is_taken(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_bytes(b"early\n" + b"x" * 9_000_000 + b"\nlate\n")
    text = _log(log).text
    assert text is not None
    assert text.endswith("late\n")
    assert "early" not in text


def journal(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> SupportFile:
    """What is taken from a journal; a script stands in for journalctl, for no journal runs in a test."""
    program = folder / "journalctl"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return _log(None)


def test_the_journal_of_the_service_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = journal(tmp_path, 'echo "asked with $*"\n', monkeypatch)
    assert part.text is not None
    assert "--unit=defect-monitor*" in part.text


def test_a_journal_without_a_line_or_with_an_error_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no line of the service" in journal(tmp_path, "exit 0\n", monkeypatch).missing
    assert "no permission" in journal(tmp_path, "echo no permission >&2; exit 1\n", monkeypatch).missing
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert "there is no journalctl" in _log(None).missing
