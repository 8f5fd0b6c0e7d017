"""A Prometheus server of the tests' own, and questions to it."""

import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

_CHOSEN = {"$__rate_interval": "10s", "$instance": ".+", "$camera": ".+", "$stage": "classify"}


def filled_in(query: str) -> str:
    """A dashboard's query with everything chosen, as Grafana would put it."""
    for variable, value in _CHOSEN.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class PrometheusServer:
    """Where a Prometheus listens; `folder` holds its data and its log. Questions are put as of `until`."""

    def __init__(self, port: int, folder: Path) -> None:
        self._address = f"127.0.0.1:{port}"
        self._folder = folder
        self.until: float | None = None  # seconds of Unix time; None: the present

    def command(self, settings: Path) -> list[str]:
        """What starts it."""
        return [
            "prometheus",
            f"--config.file={settings}",
            f"--storage.tsdb.path={self._folder}/data",
            f"--web.listen-address={self._address}",
        ]

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP interface, version 1."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code == HTTPStatus.SERVICE_UNAVAILABLE:  # it is starting
                    raise
                raise AssertionError(f"{url}: {error.read().decode()}") from error

    def series(self, query: str, *, over: float = 0) -> list[dict[str, Any]]:
        """The series that a query finds, or found within the `over` seconds before, one value a second."""
        now = self.until or time.time()
        if over:
            answer = self.ask("query_range", query=query, start=f"{now - over}", end=f"{now}", step="1")
        else:
            answer = self.ask("query", query=query, time=f"{now}")
        return list(answer["result"])

    def wait_for(self, query: str, seconds: float = 240) -> float:
        """When the query first found something. Fails with the logs after `seconds`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.series(query):
                    return time.time()
            except OSError:  # not ready yet
                pass
            time.sleep(0.2)
        logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in self._folder.glob("*.log"))
        raise AssertionError(f"{query} found nothing within {seconds:.0f} s\n{logs}")
