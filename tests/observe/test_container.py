"""Lint the container files and compare them with the files that they name. Nothing here builds them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from monitor.settings.loader import load_settings
from tests.support import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]


def mounts(service: str) -> dict[str, Path]:
    """Files and folders of this repository, by their place in the container."""
    found = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {inside: DEPLOY / outside for outside, inside, *_ in found if outside.startswith("./")}


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")  # from the development dependencies
    done = subprocess.run(
        [hadolint, "Containerfile"], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_docker_compose_reads_the_example(tmp_path):
    command = shutil.which("docker-compose")
    if command is None:
        pytest.skip("docker-compose is not installed (Debian: docker-compose)")
    # Debian's version is older than the key `name`, which gives the project its name.
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "compose.yaml").write_text(yaml.safe_dump({k: v for k, v in COMPOSE.items() if k != "name"}))
    done = subprocess.run(
        [command, "-f", folder / "compose.yaml", "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GRAFANA_PASSWORD": "secret"},
    )
    assert done.returncode == 0, done.stderr


def test_the_base_and_every_image_have_a_version():
    bases = re.findall(r"^FROM (\S+)", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    for image in (*bases, *images):
        assert re.search(r":v?\d+\.\d+\.\d+", image), image


def test_everything_that_is_copied_or_mounted_is_there():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert "monitor" in names
    for path in (
        *(ROOT / name for name in names),
        *(path for name in SERVICES for path in mounts(name).values()),
    ):
        assert path.exists(), path


def test_prometheus_finds_all_files_of_its_settings_in_the_container():
    inside = mounts("prometheus")
    settings = yaml.safe_load(inside["/etc/prometheus/prometheus.yml"].read_text())
    assert all(f"/etc/prometheus/{name}" in inside for name in settings["rule_files"])
    scraped = {}
    for job in settings["scrape_configs"]:
        (name,) = job["file_sd_configs"][0]["files"]
        groups = yaml.safe_load((inside["/etc/prometheus/targets"] / Path(name).name).read_text())
        scraped[job["job_name"]] = {target.split(":")[0] for group in groups for target in group["targets"]}
    assert set().union(*scraped.values()) <= set(SERVICES)
    assert {job for job, hosts in scraped.items() if not hosts} == {"defect-monitor-archive"}


def test_one_version_of_grafana_is_used_everywhere():
    """The source is the image in compose.yaml; the dashboards are built and compiled for the same one."""
    version = SERVICES["grafana"]["image"].removeprefix("grafana/grafana:")
    types = json.loads((ROOT / "tests/observe/schema/package.json").read_text())["dependencies"]
    assert types["@grafana/schema"] == version
    (sdk,) = re.findall(r'"grafana-foundation-sdk==\d+!(\d+\.\d+)\.', (ROOT / "pyproject.toml").read_text())
    assert version.startswith(f"{sdk}.")


def test_the_node_exporter_measures_the_hosts_network_and_prometheus_reaches_it():
    node = SERVICES["node"]
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert (node["network_mode"], node["pid"]) == ("host", "host")
    assert f"--web.listen-address={network['gateway']}:9100" in node["command"]
    assert f"node:{network['gateway']}" in SERVICES["prometheus"]["extra_hosts"]


def test_the_image_installs_nothing_without_a_hash():
    installs = re.findall(r"pip install (.+)", (DEPLOY / "Containerfile").read_text())
    assert len(installs) == 2
    assert all("--require-hashes" in line or "--no-index --no-build-isolation" in line for line in installs)


def test_the_daemon_answers_where_prometheus_asks_and_writes_where_redis_is():
    settings = load_settings(mounts("monitor")["/etc/defect-monitor/line.toml"], {})
    assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", 9464)
    assert "redis://redis:6379" in settings.redis.url.get_secret_value()
    assert "redis" in SERVICES


def test_the_daemon_runs_without_privileges_and_has_a_health_check():
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    assert "USER 10001" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert SERVICES["monitor"]["cap_drop"] == ["ALL"]


def test_nothing_listens_beyond_this_machine():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_grafana_finds_dashboards_and_data_source_where_its_provisioning_says():
    inside = mounts("grafana")
    provisioning = inside["/etc/grafana/provisioning"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "defect-monitor.yml").read_text())[
        "providers"
    ]
    assert list(inside[provider["options"]["path"]].glob("*.json"))
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert SERVICES["grafana"]["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
