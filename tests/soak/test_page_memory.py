"""What the operator's page keeps in memory while 10,000 events arrive."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.daemon_process import free_port, wait_for, write_config
from tests.support.events import make_event
from tests.support.page import PageUnderTest, run_page

pytestmark = pytest.mark.soak

EVENTS = 10_000
CAMERA = '[[camera]]\nname = "left"\nsource = "simulate:"\n'


def resident_bytes(page: PageUnderTest) -> int:
    return int(Path(f"/proc/{page.process.pid}/statm").read_text().split()[1]) * 4096


def test_memory_stays_flat_over_ten_thousand_events(client, valkey, tmp_path):
    def publish(first: int) -> None:
        for number in range(first, first + EVENTS // 2):
            event = make_event(number, "left").model_copy(update={"captured_at": datetime.now(UTC)})
            client.xadd("defects:events", {"id": event.id, "camera": "left", "event": event.to_json()})
        wait_for(lambda: f": {first + EVENTS // 2}" in page.get("/").text, 120)  # flagged in the last hour

    with run_page(write_config(tmp_path, CAMERA, url=valkey, port=free_port())) as page:
        publish(0)
        before = resident_bytes(page)
        publish(EVENTS // 2)
        growth = resident_bytes(page) - before
    print(f"\nresident memory: +{growth / 1e6:.1f} MB over {EVENTS // 2} events")
    assert growth < 5_000_000
