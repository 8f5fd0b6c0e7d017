"""Collects the parts of the archive; a part that cannot be collected states the reason."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from monitor.errors import SettingsError
from monitor.settings import Settings, load_settings
from monitor.settings.loader import decode_text
from monitor.settings.secrecy import find_secrets, redacted
from monitor.tools.doctor.metrics_port import fetch_page
from monitor.tools.support.archive import SupportFile
from monitor.tools.support.machine import versions
from monitor.tools.support.redaction import Redactor

_UNIT = "defect-monitor*"


_LINES = 20_000


_LOG_BYTES = 8_000_000


_DOCTOR_TIMEOUT = 180.0


_NO_FILE = "no configuration file was given; name it with -c"


def collect_files(
    config: Path | None, log: Path | None, environment: Mapping[str, str] = os.environ
) -> Iterator[SupportFile]:
    """Yield versions, settings, log, metrics and the doctor's report, each without secrets.

    `config` is the configuration file, `log` a file to read instead of the journal.
    """
    settings, text, problem = _read(config, environment)
    hide = Redactor(find_secrets(settings, text, environment))
    made_of = "versions of program, system and machine"
    yield _hidden(hide, SupportFile("versions.json", made_of, _as_json(versions())))
    shown = None if settings is None else _as_json(redacted(settings))
    yield _hidden(hide, SupportFile("settings.json", "settings in force", shown, problem))
    yield _hidden(hide, _log(log))
    for part in _pages(settings):
        yield _hidden(hide, part)
    yield _hidden(hide, _doctor(config, environment))


def _hidden(redactor: Redactor, part: SupportFile) -> SupportFile:
    return SupportFile(
        part.name, part.what, None if part.text is None else redactor(part.text), redactor(part.missing)
    )


def _as_json(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _read(config: Path | None, environment: Mapping[str, str]) -> tuple[Settings | None, str, str]:
    """The settings, if they can be read; the text of their file; and the problem with them."""
    if config is None:
        return None, "", _NO_FILE
    try:
        text = decode_text(config.read_bytes())
    except (OSError, UnicodeDecodeError):
        text = ""
    try:
        return load_settings(config, environment), text, ""
    except SettingsError as error:
        return None, text, str(error)


def _log(log: Path | None) -> SupportFile:
    if log is not None:
        name, what = "log.txt", f"the end of {log}"
        try:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _LOG_BYTES))
                return SupportFile(name, what, file.read(_LOG_BYTES).decode(errors="replace"))
        except OSError as error:
            return SupportFile(name, what, None, f"{log} cannot be read: {error.strerror}")
    what = f"the journal of {_UNIT}"
    program = shutil.which("journalctl")
    advice = "--log FILE reads a file instead"
    if program is None:
        return SupportFile("log.txt", what, None, f"there is no journalctl; {advice}")
    command = [program, "--no-pager", "--quiet", "--output=short-iso", f"--lines={_LINES}", f"--unit={_UNIT}"]
    done = _run(command, 30.0)
    if isinstance(done, str) or done.returncode or not done.stdout.strip():
        reason = done if isinstance(done, str) else _last_line(done.stderr) or "it has no line of the service"
        return SupportFile("log.txt", what, None, f"journalctl: {reason}; {advice}")
    return SupportFile("log.txt", what, done.stdout)


def _pages(settings: Settings | None) -> Iterator[SupportFile]:
    """The pages of a running daemon."""
    host, port = (settings.metrics.host, settings.metrics.port) if settings else ("127.0.0.1", 9464)
    running = port and fetch_page(host, port, "/metrics")
    for name, path in (("metrics.txt", "/metrics"), ("healthz.json", "/healthz"), ("readyz.json", "/readyz")):
        text = fetch_page(host, port, path) if running else None
        reason = f"nothing answers at port {port} of {host}: is the daemon running?"
        yield SupportFile(name, f"the running daemon's {path}", text, reason)


def _doctor(config: Path | None, environment: Mapping[str, str]) -> SupportFile:
    """The doctor's report, from a separate process, so that a driver that crashes does not end this one."""
    name, what = "doctor.json", "the doctor's report"
    command = [sys.executable, "-m", "monitor", "doctor", "--json", *(["-c", str(config)] if config else [])]
    done = _run(command, _DOCTOR_TIMEOUT, environment)
    if isinstance(done, str):
        return SupportFile(name, what, None, f"the doctor {done}")
    if not done.stdout.startswith("{"):
        return SupportFile(name, what, None, f"exit code {done.returncode}: {_last_line(done.stderr)}")
    return SupportFile(name, what, done.stdout)


def _run(
    command: list[str], timeout: float, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str] | str":
    """The completed process, or the reason why it did not complete."""
    try:
        return subprocess.run(  # noqa: S603 (our own command)
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {timeout:g} s"
    except OSError as error:
        return f"cannot be run: {error.strerror}"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
