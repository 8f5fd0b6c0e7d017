"""The Health view: what is degraded in words, each with an entry that the runbook has."""

import re
from datetime import UTC, datetime

import pytest

from monitor.telemetry.scrape import Sample
from monitor.web.health import find_problems
from monitor.web.state import LineState
from monitor.web.texts import LANGUAGES, catalogue
from tests.support import ROOT


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_problem_has_words_advice_and_an_entry_in_the_runbook(language):
    entries = set(
        re.findall(r"^## (\w+)$", (ROOT / "deploy/prometheus/runbook.md").read_text(), re.MULTILINE)
    )
    texts = catalogue(language)
    problems = {key.split(".")[1] for key in texts if key.startswith("problem.")}
    assert problems == {key.split(".")[1] for key in texts if key.startswith("advice.")}
    assert problems <= entries
    source = (ROOT / "monitor/web/health.py").read_text()
    assert set(re.findall(r'"(DefectMonitor\w+)"', source)) == problems


def test_problems_follow_from_metrics_and_states():
    state = LineState(["left", "right"])
    state.find_daemon({"left": "frozen", "right": "up"}, datetime.now(UTC))
    samples = {
        "redis_up": [Sample({}, 0.0)],
        "outbox_oldest_seconds": [Sample({}, 61.0)],
        "outbox_durable": [Sample({}, 0.0)],
        "outbox_shed_total": [Sample({"kind": "events"}, 2.0)],
        "camera_name_clash": [Sample({"camera": "left"}, 0.0), Sample({"camera": "right"}, 1.0)],
    }
    found = [
        (problem.entry.removeprefix("DefectMonitor"), problem.camera)
        for problem in find_problems(state, samples)
    ]
    assert found == [
        ("RedisUnreachable", None),
        ("CameraFrozen", "left"),
        ("NameClash", "right"),
        ("OutboxGrowing", None),
        ("OutboxSheds", None),
        ("OutboxNotDurable", None),
    ]
    assert list(find_problems(LineState([]), {})) == []


def test_a_daemon_that_is_away_comes_first_in_words(quiet_page, tab):
    tab.goto(f"{quiet_page.address}/health")
    first = tab.locator(".problems li").first
    first.wait_for()
    assert "The daemon does not answer." in first.inner_text()
    assert "runbook.md#defectmonitordown" in first.inner_text()
