"""A real Prometheus that watches a running demo and its machine, with the rules and the names that ship."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.daemon.conftest import ENVIRONMENT
from tests.observe.server import PrometheusServer, free_port

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
    """The settings that ship, scraping these ports each second; `targets` has a port for each job."""
    settings = yaml.safe_load((RULES / "prometheus.yml").read_text())
    settings["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    assert {job["job_name"] for job in settings["scrape_configs"]} == set(targets)
    for job in settings["scrape_configs"]:
        del job["file_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]
    for name in settings["rule_files"]:
        (folder / name).write_text(yaml.safe_dump(rules_that_hurry(RULES / name, patience)))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(settings))
    return path


@contextmanager
def watched_demo(folder: Path, seconds: float) -> Iterator[PrometheusServer]:
    """A Prometheus that has scraped a demo at work for so long; it is asked as of the end of that time."""
    ports = {"defect-monitor": free_port(), "node": free_port()}
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
        start("node", [str(exporter), listen], signal.SIGTERM)
        server = PrometheusServer(free_port(), folder)
        start("prometheus", server.command(settings_that_hurry(folder, ports)), signal.SIGTERM)
        begun = server.wait_for("min(defect_monitor_events_total) > 0")
        while time.time() - begun < seconds:
            time.sleep(0.2)
        server.until = time.time()
        watched.send_signal(signal.SIGINT)
        yield server
