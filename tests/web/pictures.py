"""Take the pictures of the page for its README: `python -m tests.web.pictures`, from a minute of the demo."""

import subprocess
import sys
import tempfile
from typing import Any

from tests.support import ROOT
from tests.support.daemon_process import wait_for
from tests.support.page import run_chromium

FOLDER = ROOT / ".github" / "pictures"
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, run_chromium() as browser:
        command = ["demo", "--port", "0", "--page-port", "0", "--out", folder]
        demo = subprocess.Popen(
            [sys.executable, "-m", "monitor", *command], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        try:
            assert demo.stdout is not None
            address = demo.stdout.readline().split()[1].rstrip("/")
            tab = browser.new_context(viewport=SIZE, locale="en-GB").new_page()
            take_pictures(tab, address)
        finally:
            demo.terminate()
            demo.wait(60)


def take_pictures(tab: Any, address: str) -> None:
    """Wait for some flagged frames, then walk through the views as a newcomer does."""
    tab.goto(address)
    tab.locator(".state-up").nth(1).wait_for(timeout=180_000)
    wait_for(lambda: _flagged(tab) >= 10, 180)
    save(tab, "line")
    tab.locator(".tile h2 a").first.click()
    tab.locator("#video").wait_for()
    tab.get_by_label("Rows of tiles").fill("2")
    tab.get_by_label("Rows of tiles").press("Tab")
    tab.locator("#toml").wait_for()
    save(tab, "camera")
    tab.goto(address + "/events")
    save(tab, "events")
    tab.locator(".card .open").nth(1).click()
    save(tab, "event")
    tab.get_by_role("link", name="Not inspected").click()
    save(tab, "not-inspected")
    tab.get_by_role("link", name="Health").click()
    save(tab, "health")


def save(tab: Any, name: str) -> None:
    """Wait for the live connection, then take a picture."""
    tab.locator("#status p").first.wait_for()
    tab.evaluate("scrollTo(0, 0)")
    tab.wait_for_timeout(1_500)
    tab.screenshot(path=FOLDER / f"page-{name}.jpg", type="jpeg", quality=80)


def _flagged(tab: Any) -> int:
    tab.wait_for_timeout(500)
    return sum(int(text.split(": ")[1].split()[0]) for text in tab.locator(".counts").all_inner_texts())


if __name__ == "__main__":
    main()
