"""The operator's page in a process of its own, and Debian's Chromium that looks at it."""

import http.client
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.daemon_process import ENVIRONMENT

LINE = '[[camera]]\nname = "left"\nsource = "simulate:"\n'
"""The settings of a line of one camera."""


@dataclass
class PageUnderTest:
    """A page that serves at `address`, such as `http://127.0.0.1:8460`."""

    process: subprocess.Popen[str]
    address: str

    def get(self, path: str, headers: Mapping[str, str] = {}) -> http.client.HTTPResponse:
        """The answer to a GET, redirects not followed; its body is read."""
        return self.request("GET", path, headers=headers)

    def request(
        self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] = {}
    ) -> Any:
        """The answer to a request; `text` holds its body."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        try:
            connection.request(method, path, body, dict(headers))
            answer: Any = connection.getresponse()
            answer.content = answer.read()
            answer.text = answer.content.decode(errors="replace")
        finally:
            connection.close()
        return answer

    def stop(self, timeout: float = 10) -> int:
        """SIGTERM; the exit code, which must come within `timeout` seconds."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


@contextmanager
def run_page(config: Path, *options: str) -> Iterator[PageUnderTest]:
    """`defect-monitor page -c config` at a free port, its log in a file beside the settings."""
    command = [sys.executable, "-m", "monitor", "page", "-c", str(config), "--port", "0", *options]
    with config.with_suffix(".page.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**ENVIRONMENT, "TZ": "UTC"}
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith("page: http"), config.with_suffix(".page.log").read_text()
            yield PageUnderTest(process, first.split()[1].rstrip("/"))
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def wait_for_script(tab: Any, expression: str, argument: object = None, timeout: float = 15.0) -> None:
    """Wait until `expression`, JavaScript, is true in `tab`.

    Asked from outside: Playwright's own wait evaluates text inside the page, which the page's policy forbids.
    """
    deadline = time.monotonic() + timeout
    while not tab.evaluate(expression, argument):
        assert time.monotonic() < deadline, f"not true in time: {expression}"
        time.sleep(0.05)


@contextmanager
def run_chromium() -> Iterator[Any]:
    """A browser of Playwright's; skips where Debian's Chromium or Playwright is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
