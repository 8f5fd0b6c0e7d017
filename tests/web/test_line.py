"""The Line view in a real browser, on a real daemon and server."""

import os
import signal
import time
from pathlib import Path

from tests.support.daemon_process import children_of, wait_for
from tests.support.page import run_page

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
    with run_page(line.config) as page:
        tab.goto(page.address)
        tab.locator(ANSWERING).wait_for()
        assert page.stop(timeout=2) == 0


def test_a_foreign_host_name_is_refused(line):
    assert line.page.get("/", {"Host": "evil.example"}).status == 421
    assert line.page.get("/", {"Host": "localhost:8460"}).status == 200


def test_a_camera_whose_process_is_killed_is_shown_with_its_cause(line, tab):
    line.daemon.ready()
    tab.goto(line.page.address)
    tile = tab.locator(".tile", has_text="left")
    tile.locator(".state-up").wait_for()
    deadline = time.monotonic() + 60
    while tile.locator(".state-up").count() and time.monotonic() < deadline:
        for worker in workers_of(
            line, "left"
        ):  # each time it is replaced, the pause before the next is longer
            os.kill(worker, signal.SIGKILL)
        tab.wait_for_timeout(200)
    assert tile.locator(".state-up").count() == 0
    tile.locator(".causes", has_text="capture process crashed").wait_for(timeout=60_000)
    tile.locator(".state-up").wait_for(timeout=60_000)


def test_inspection_does_not_notice_that_a_page_is_killed(line, tab):
    line.daemon.ready()
    with run_page(line.config) as page:
        tab.goto(page.address)
        tab.locator(ANSWERING).wait_for()
        page.process.kill()
        page.process.wait()
    before = line.daemon.metric("defect_monitor_frames_total")
    wait_for(lambda: line.daemon.metric("defect_monitor_frames_total") > before + 5, 60, line.daemon)
    assert line.daemon.get("/healthz")[0] == 200


def test_two_browsers_see_the_same(line, chromium):
    line.daemon.ready()
    tabs = [chromium.new_context(locale=locale).new_page() for locale in ("en-GB", "de-DE")]
    for tab, state in zip(tabs, ("up", "läuft"), strict=True):
        tab.goto(line.page.address)
        tab.locator(".tile .state-up", has_text=state).first.wait_for(timeout=60_000)
    for tab in tabs:
        tab.context.close()


def workers_of(line, camera: str) -> list[int]:
    """The capture processes of a camera: they are named on the command line."""
    found = []
    for child in children_of(line.daemon.process.pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"monitor.capture.worker" in command and camera.encode() in command:
            found.append(child)
    return found


def test_a_live_frame_is_small_and_fresh_and_turns_grey_when_it_is_old(line, tab):
    line.daemon.ready()
    tab.goto(line.page.address)
    image = tab.locator(".tile", has_text="left").locator(".live img")
    image.wait_for(timeout=60_000)
    first = image.get_attribute("src")
    wait_for(lambda: tab.wait_for_timeout(200) or image.get_attribute("src") != first, 60)
    assert len(line.page.get(str(image.get_attribute("src"))).content) < 40_000
    line.daemon.process.send_signal(signal.SIGSTOP)
    try:
        tab.locator(".tile", has_text="left").locator(".live.old").wait_for(timeout=10_000)
        assert "grayscale" in image.evaluate("image => getComputedStyle(image).filter")
    finally:
        line.daemon.process.send_signal(signal.SIGCONT)
