"""The Line view in a real browser, on a real daemon and server."""

import signal
import time

from tests.support.daemon_process import wait_for

ANSWERING = "#status :is(.well, .warning)"  # on a busy machine the daemon reports that it is degraded


def test_a_tile_tells_the_state_in_words(line, tab):
    line.daemon.ready()
    tab.goto(line.page.address)
    tile = tab.locator(".tile", has_text="left")
    tile.locator(".state-up", has_text="up").wait_for()
    assert tab.locator(".tile").count() == 2
    tab.locator(ANSWERING).wait_for()


def test_a_flagged_frame_is_counted_within_two_seconds_of_its_event(line, tab):
    line.daemon.ready()
    tab.goto(line.page.address)
    counts = tab.locator(".tile .counts")

    def shown() -> int:
        return sum(int(text.split(": ")[1].split()[0]) for text in counts.all_inner_texts())

    def stored() -> int:
        with line.server.client() as client:
            return int(client.xlen("defects:events"))

    wait_for(lambda: stored() > 0, 60)
    before = stored()
    wait_for(lambda: stored() > before, 60)
    now, deadline = stored(), time.monotonic() + 2
    while shown() < now and time.monotonic() < deadline:
        tab.wait_for_timeout(50)
    assert shown() >= now


def test_a_redis_that_hangs_is_shown_within_three_seconds_and_its_return_too(line, tab):
    tab.goto(line.page.address)
    tab.locator(ANSWERING).wait_for()
    line.server.signal(signal.SIGSTOP)
    try:
        tab.locator("#status", has_text="Redis does not answer").wait_for(timeout=3000)
    finally:
        line.server.signal(signal.SIGCONT)
    tab.locator(ANSWERING).wait_for(timeout=5000)


def test_a_daemon_that_hangs_is_shown_within_three_seconds_and_its_return_too(line, tab):
    line.daemon.ready()
    tab.goto(line.page.address)
    tab.locator(ANSWERING).wait_for()
    line.daemon.process.send_signal(signal.SIGSTOP)
    try:
        tab.locator("#status", has_text="The daemon does not answer").wait_for(timeout=3000)
        tab.locator(".state-unknown").first.wait_for()
    finally:
        line.daemon.process.send_signal(signal.SIGCONT)
    tab.locator(".state-up").first.wait_for()


def test_a_page_that_hangs_is_shown_as_not_connected(line, tab):
    tab.goto(line.page.address)
    tab.locator(ANSWERING).wait_for()
    line.page.process.send_signal(signal.SIGSTOP)
    try:
        tab.locator("#offline").wait_for(state="visible", timeout=3500)
    finally:
        line.page.process.send_signal(signal.SIGCONT)
    tab.locator("#offline").wait_for(state="hidden")


def test_another_language_stays_chosen(line, tab):
    tab.goto(line.page.address)
    tab.get_by_role("link", name="Deutsch").click()
    assert tab.locator("h1").inner_text() == "Linie"
    assert tab.locator("html").get_attribute("lang") == "de"


def test_the_page_stops_within_two_seconds_although_browsers_hold_streams(line, tab):
    from tests.support.page import run_page

    with run_page(line.config) as page:
        tab.goto(page.address)
        tab.locator(ANSWERING).wait_for()
        assert page.stop(timeout=2) == 0


def test_a_foreign_host_name_is_refused(line):
    assert line.page.get("/", {"Host": "evil.example"}).status == 421
    assert line.page.get("/", {"Host": "localhost:8460"}).status == 200
