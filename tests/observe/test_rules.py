"""The Prometheus settings: accepted by Prometheus' own checker, each alert tested and explained."""

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.prometheus import ALERTS, FOLDER, content

PROMTOOL = shutil.which("promtool")


needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def expectations(alert: str) -> Iterator[list[Any]]:
    """What the alert's tests expect, one list of firing alerts for each moment looked at."""
    for case in content("alerts.test.yml")["tests"]:
        for check in case["alert_rule_test"]:
            if check["alertname"] == alert:
                yield check["exp_alerts"]


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_is_content(arguments):
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_firing_and_keeping_still(alert):
    expected = list(expectations(alert))
    assert any(expected), f"no test has {alert} fire"
    assert not all(expected), f"no test has {alert} keep still"


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_what_it_is_about(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "dashboard_url", "runbook_url"}


def test_the_runbook_has_an_entry_for_each_alert_and_no_other():
    lines = (FOLDER / "runbook.md").read_text().splitlines()
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_entry_of_the_runbook_says_what_it_means_where_to_look_and_what_to_do(alert):
    text = (FOLDER / "runbook.md").read_text().split(f"## {alert}\n")[1].split("\n## ")[0]
    places = [text.find(f"**{word}.**") for word in ("Means", "Look", "Do")]
    assert -1 < places[0] < places[1] < places[2]
