"""A Prometheus server of the tests' own, and questions to it."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from tests.support import ROOT
from tests.support.daemon_process import ENVIRONMENT, children_of, free_port

_CHOSEN = {"$__rate_interval": "10s", "$instance": ".+", "$camera": ".+", "$stage": "classify"}


def filled_in(query: str) -> str:
    """A dashboard's query with everything chosen, as Grafana would put it."""
    for variable, value in _CHOSEN.items():
        query = query.replace(variable, value)
    assert "$" not in query, query
    return query


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


RULES = ROOT / "deploy" / "prometheus"


PROGRAMS = ("prometheus", "prometheus-node-exporter")


def rules_that_hurry(path: Path, patience: str | None) -> dict[str, Any]:
    """The rules as they ship, evaluated each second; alerts wait for `patience` instead of their own time."""
    content = yaml.safe_load(path.read_text())
    for group in content["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if patience is not None and "for" in rule:
                rule["for"] = patience
    return dict(content)


def settings_that_hurry(folder: Path, targets: dict[str, int], patience: str | None = None) -> Path:
    """The settings that ship, scraping these ports each second; `targets` has the ports, by job."""
    settings = yaml.safe_load((RULES / "prometheus.yml").read_text())
    settings["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    jobs = {job["job_name"]: job for job in settings["scrape_configs"]}
    assert targets.keys() <= jobs.keys()
    settings["scrape_configs"] = [jobs[name] for name in targets]
    for job in settings["scrape_configs"]:
        del job["file_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    for name in settings["rule_files"]:
        (folder / name).write_text(yaml.safe_dump(rules_that_hurry(RULES / name, patience)))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(settings))
    return path


def _redis_of(demo: int) -> str:
    """The URL of the Redis that a demo has started, once it listens; its title names its port."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for child in children_of(demo):
            title = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace")
            if found := re.search(r"(?:127\.0\.0\.1:|--port\0)(\d+)", title):
                return f"redis://127.0.0.1:{found[1]}/0"
        time.sleep(0.1)
    raise AssertionError("the demo started no Redis")


@contextmanager
def watched_demo(folder: Path, seconds: float) -> Iterator[PrometheusServer]:
    """A Prometheus that has scraped a demo at work for so long; it is asked as of the end of that time."""
    ports = {name: free_port() for name in ("defect-monitor", "node", "defect-monitor-archive")}
    demo = [sys.executable, "-m", "monitor", "demo", "--port", str(ports["defect-monitor"])]
    exporter, listen = shutil.which(PROGRAMS[1]), f"--web.listen-address=127.0.0.1:{ports['node']}"
    with ExitStack() as stack:

        def start(name: str, command: list[str], end: signal.Signals) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=ENVIRONMENT)
            stack.callback(process.wait, 60)
            stack.callback(process.send_signal, end)
            return process

        watched = start("demo", [*demo, "--out", str(folder / "out")], signal.SIGINT)
        archive = [sys.executable, "-m", "monitor", "archive", "--to", str(folder / "archive")]
        archive += ["--url", _redis_of(watched.pid), "--port", str(ports["defect-monitor-archive"])]
        start("archive", archive, signal.SIGTERM)
        start("node", [str(exporter), listen], signal.SIGTERM)
        server = PrometheusServer(free_port(), folder)
        start("prometheus", server.command(settings_that_hurry(folder, ports)), signal.SIGTERM)
        begun = server.wait_for("min(defect_monitor_events_total) > 0")
        while time.time() - begun < seconds:
            time.sleep(0.2)
        server.until = time.time()
        watched.send_signal(signal.SIGINT)
        yield server


FOLDER = ROOT / "deploy" / "prometheus"


@cache
def content(name: str) -> Any:
    """The content of a YAML file of the folder; not to be changed."""
    return yaml.load((FOLDER / name).read_text(), Loader=yaml.CSafeLoader)


ALERTS = {rule["alert"]: rule for group in content("alerts.yml")["groups"] for rule in group["rules"]}
