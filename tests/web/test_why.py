"""Explanations on demand: a bounded queue, a process of its own, and clear answers where there is none."""

import re
import threading
from pathlib import Path
from urllib.parse import urlencode

import pytest

from monitor.errors import MonitorError
from monitor.web.why.order import METHODS, ExplanationOrder
from monitor.web.why.queue import BusyError, ExplanationQueue
from tests.support.page import wait_for_script
from tests.support.redis_servers import wait_until

ORDER = ExplanationOrder(method="grad-cam", model="dagm-class1", sha256="0" * 64, threshold=0.5)


SCRIPT = {"HX-Request": "true"}


class Gate:
    """Computes nothing until it is opened."""

    def __init__(self):
        self.opened = threading.Event()
        self.order = []

    def __call__(self, order, jpeg):
        self.opened.wait(30)
        self.order.append(jpeg)
        if jpeg == b"bad":
            raise MonitorError("it cannot be decoded")
        if jpeg == b"fault":
            raise RuntimeError("a fault of the program")
        return b"explained " + jpeg


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def queue(gate):
    queue = ExplanationQueue(gate, limit=4)
    yield queue
    gate.opened.set()
    queue.close()


def test_one_runs_four_wait_and_the_next_is_told_that_it_is_busy(queue, gate):
    queue.submit(("0", "grad-cam"), ORDER, b"0")
    wait_until(lambda: queue.find(("0", "grad-cam")).state == "running")
    for number in range(1, 5):
        queue.submit((str(number), "grad-cam"), ORDER, str(number).encode())
    assert [queue.find((str(n), "grad-cam")).position for n in range(1, 5)] == [1, 2, 3, 4]
    with pytest.raises(BusyError, match="4 explanations wait"):
        queue.submit(("5", "grad-cam"), ORDER, b"5")
    queue.submit(("2", "grad-cam"), ORDER, b"2")  # is queued already
    gate.opened.set()
    wait_until(lambda: (found := queue.find(("4", "grad-cam"))) and found.state == "done")
    assert gate.order == [b"0", b"1", b"2", b"3", b"4"]
    assert queue.find(("4", "grad-cam")).picture == b"explained 4"


def test_a_failure_is_told_and_can_be_tried_again(queue, gate):
    gate.opened.set()
    for key, sentence in (("bad", "cannot be decoded"), ("fault", "unexpected failure")):
        queue.submit((key, "grad-cam"), ORDER, key.encode())
        wait_until(lambda key=key: queue.find((key, "grad-cam")).state == "failed")
        assert sentence in queue.find((key, "grad-cam")).problem
    queue.submit(("bad", "grad-cam"), ORDER, b"good")
    wait_until(lambda: queue.find(("bad", "grad-cam")).state == "done")


def test_only_the_latest_results_are_kept(queue, gate):
    gate.opened.set()
    for number in range(20):
        queue.submit((str(number), "grad-cam"), ORDER, b"x")
        wait_until(lambda number=number: queue.find((str(number), "grad-cam")).state == "done")
    assert [queue.find((str(n), "grad-cam")) is None for n in range(20)] == [n < 4 for n in range(20)]


def find_raw_event(line):
    """Wait for a flagged frame whose raw image is stored: its entry."""
    line.daemon.ready()
    found = []

    def is_there():
        with line.server.client() as client:
            for entry, fields in client.xrevrange("defects:events", count=20):
                if client.exists(b"defects:raw:" + fields[b"id"]):
                    found.append(entry.decode())
        return bool(found)

    wait_until(is_there, 60)
    return found[0]


def test_the_page_explains_a_flagged_frame_by_another_method(line, tab):
    entry = find_raw_event(line)
    tab.goto(f"{line.page.address}/events/{entry}")
    tab.get_by_label("Method").select_option("grad-cam++")
    tab.get_by_role("button", name="Explain").click()
    tab.locator("#why [role=status]").wait_for()
    picture = tab.locator("#why .why img")
    picture.wait_for(timeout=240_000)
    wait_for_script(tab, "document.querySelector('#why .why img').naturalWidth === 512")
    assert "tensorflow" not in Path(f"/proc/{line.page.process.pid}/maps").read_text()


def ask(line, entry, method, headers=SCRIPT):
    """The answer to the form of an event's page."""
    [token, *_] = re.findall(r'name="csrf" value="([^"]*)"', line.page.get(f"/events/{entry}").text)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"method": method, "csrf": token})
    return line.page.request("POST", f"/events/{entry}/why", body, {**form, **headers})


def test_without_the_header_of_a_script_or_with_an_unknown_method_nothing_is_explained(line):
    entry = find_raw_event(line)
    assert ask(line, entry, "grad-cam", {}).status == 403
    assert ask(line, entry, "rm").status == 400
    assert line.page.get(f"/events/{entry}/why.jpg?method=score-cam").status == 404
    assert "not kept" in line.page.get(f"/events/{entry}/why?method=score-cam").text


def test_a_raw_frame_that_is_gone_is_told(line):
    entry = find_raw_event(line)
    with line.server.client() as client:
        ((_, fields),) = client.xrange("defects:events", entry, entry)
        client.delete(b"defects:raw:" + fields[b"id"])
    assert "has expired" in ask(line, entry, "score-cam").text


def test_every_method_of_the_package_is_offered():
    from monitor.explain.explainer import METHODS as KNOWN

    assert sorted(METHODS) == sorted(KNOWN)
