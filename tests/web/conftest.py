"""A line for the page: Valkey, a daemon with two simulated cameras, one browser for each module."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitor.web.passwords import hash_password
from tests.support.daemon_process import DaemonUnderTest, free_port, run_daemon, write_config
from tests.support.page import LINE, PageUnderTest, run_chromium, run_page
from tests.support.redis_servers import EMBEDDED, ServerProcess, server_program

# Slow: what the cameras cost, the page and the browser do not get.
CAMERAS = """
[redis]
url = "{url}"
raw_frames = true
[[camera]]
name = "left"
source = "simulate:?seed=11&defect_rate=0.1"
fps = 2
[[camera]]
name = "right"
source = "simulate:?seed=12&defect_rate=0.1"
fps = 2
"""


@dataclass
class LineUnderTest:
    """Server, daemon and page of one line."""

    server: ServerProcess
    daemon: DaemonUnderTest
    page: PageUnderTest
    config: Path


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineUnderTest]:
    """A running line, shared by the tests of a module."""
    folder = tmp_path_factory.mktemp("line")
    server = ServerProcess(folder, server_program(EMBEDDED))
    server.start()
    port = free_port()
    config = folder / "line.toml"
    config.write_text(
        CAMERAS.format(url=server.url) + f"[metrics]\nport = {port}\n[inference]\nthreads = 1\n"
    )
    try:
        with run_daemon(config, port) as daemon, run_page(config) as page:
            yield LineUnderTest(server, daemon, page, config)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser."""
    with run_chromium() as browser:
        yield browser


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A fresh tab without cookies, of English language; fails on any error of the browser's console."""
    opened = chromium.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(15_000)
    page = opened.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield page
    opened.close()
    assert errors == []


@pytest.fixture(scope="module")
def quiet_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server without a daemon, into which a test writes what it wants to be shown."""
    server = ServerProcess(tmp_path_factory.mktemp("server"), server_program(EMBEDDED))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def quiet_page(
    quiet_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PageUnderTest]:
    """A page of that server; no daemon answers."""
    folder = tmp_path_factory.mktemp("page")
    with run_page(write_config(folder, LINE, url=quiet_server.url, port=free_port())) as page:
        yield page


@pytest.fixture(scope="module")
def guarded(quiet_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageUnderTest]:
    """A page with a user for each role, whose password is `<role>-secret`, behind a proxy."""
    users = "".join(
        f'[page.users.{role}]\nrole = "{role}"\npassword = "{hash_password(f"{role}-secret")}"\n'
        for role in ("viewer", "operator", "engineer")
    )
    folder = tmp_path_factory.mktemp("guarded")
    config = write_config(folder, LINE, url=quiet_server.url, port=free_port(), more=users)
    with run_page(config, "--trusted-proxy", "127.0.0.1") as page:
        yield page
