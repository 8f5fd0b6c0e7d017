"""Test the Prometheus settings with promtool: each alert has cases and an entry in the runbook."""

import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from tests.support.prometheus import ALERTS, FOLDER, content

PROMTOOL = shutil.which("promtool")
CASES = "alerts.test.yml", "alerts-hours.test.yml"

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def expectations(alert: str) -> Iterator[list[Any]]:
    """Yield the expected firing alerts of each check of `alert` in the promtool cases."""
    for case in chain.from_iterable(content(file)["tests"] for file in CASES):
        for check in case["alert_rule_test"]:
            if check["alertname"] == alert:
                yield check["exp_alerts"]


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), *(("test", "rules", file) for file in CASES)],
    ids=" ".join,
)
def test_promtool_accepts_the_settings_and_passes_the_cases(arguments):
    done = subprocess.run([PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_cases_that_fire_and_cases_that_do_not(alert):
    expected = list(expectations(alert))
    assert any(expected), f"no case in which {alert} fires"
    assert not all(expected), f"no case in which {alert} does not fire"


@pytest.mark.parametrize("alert", ALERTS)
def test_no_alert_fires_over_a_day_without_a_fault_but_with_a_restart(alert):
    (day,) = (
        case for case in content("alerts.test.yml")["tests"] if case["name"].startswith("A day without")
    )
    checks = [check for check in day["alert_rule_test"] if check["alertname"] == alert]
    assert len(checks) > 5
    assert {check["eval_time"] for check in checks} >= {"9h", "601m", "23h"}
    assert not any(check["exp_alerts"] for check in checks)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_severity_and_all_annotations(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description", "dashboard_url", "runbook_url"}


def test_the_runbook_has_an_entry_for_each_alert_and_no_other():
    lines = (FOLDER / "runbook.md").read_text().splitlines()
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == list(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_entry_of_the_runbook_has_meaning_checks_and_remedies(alert):
    text = (FOLDER / "runbook.md").read_text().split(f"## {alert}\n")[1].split("\n## ")[0]
    places = [text.find(f"**{word}.**") for word in ("Means", "Look", "Do")]
    assert -1 < places[0] < places[1] < places[2]
