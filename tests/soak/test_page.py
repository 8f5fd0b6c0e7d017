"""What the operator's page costs: 20 viewers, and 10,000 events."""

import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.daemon_process import free_port, wait_for, write_config
from tests.support.events import make_event
from tests.support.page import PageUnderTest, run_page

pytestmark = pytest.mark.soak

VIEWERS, SECONDS, EVENTS = 20, 20, 10_000
CAMERA = '[[camera]]\nname = "{}"\nsource = "simulate:"\n'


def cpu_seconds(page: PageUnderTest) -> float:
    fields = Path(f"/proc/{page.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident_bytes(page: PageUnderTest) -> int:
    return int(Path(f"/proc/{page.process.pid}/statm").read_text().split()[1]) * 4096


def watch(page: PageUnderTest, received: list[int], stop: threading.Event) -> None:
    with urllib.request.urlopen(f"{page.address}/stream?view=line", timeout=30) as stream:
        for line in stream:
            received.append(len(line))
            if stop.is_set():
                return


@pytest.fixture
def page(client, valkey, tmp_path):
    cameras = CAMERA.format("left") + CAMERA.format("right")
    with run_page(write_config(tmp_path, cameras, url=valkey, port=free_port())) as running:
        yield running


def test_twenty_viewers_cost_less_than_half_a_core(page):
    stop, received = threading.Event(), [[] for _ in range(VIEWERS)]
    threads = [threading.Thread(target=watch, args=(page, one, stop)) for one in received]
    for thread in threads:
        thread.start()
    wait_for(lambda: all(received), 30)
    before, began = cpu_seconds(page), time.monotonic()
    time.sleep(SECONDS)
    share = (cpu_seconds(page) - before) / (time.monotonic() - began)
    stop.set()
    for thread in threads:
        thread.join()
    print(f"\n{VIEWERS} viewers of the Line view: {share:.2f} of a core")
    assert share < 0.5


def test_memory_stays_flat_over_ten_thousand_events(client, page):
    def publish(first: int) -> None:
        for number in range(first, first + EVENTS // 2):
            event = make_event(number, "left").model_copy(update={"captured_at": datetime.now(UTC)})
            client.xadd("defects:events", {"id": event.id, "camera": "left", "event": event.to_json()})
        wait_for(lambda: f": {first + EVENTS // 2}" in page.get("/").text, 120)  # flagged in the last hour

    publish(0)
    before = resident_bytes(page)
    publish(EVENTS // 2)
    growth = resident_bytes(page) - before
    print(f"\nresident memory: +{growth / 1e6:.1f} MB over {EVENTS // 2} events")
    assert growth < 5_000_000
