"""For everybody, on a phone and on a wall screen: axe, contrast, sizes, weight."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.daemon_process import free_port, write_config
from tests.support.page import PageUnderTest, run_page
from tests.support.stored_events import store

AXE = (ROOT / "tests/web/vendor/axe.min.js").read_text()
CAMERA = '[[camera]]\nname = "camera-{:02}"\nsource = "simulate:"\n'


@pytest.fixture(scope="module")
def many(quiet_server, tmp_path_factory) -> Iterator[PageUnderTest]:
    """A page of 32 cameras."""
    cameras = "".join(CAMERA.format(number) for number in range(32))
    folder = tmp_path_factory.mktemp("many")
    with run_page(write_config(folder, cameras, url=quiet_server.url, port=free_port())) as page:
        yield page


@pytest.fixture(scope="module")
def entry(quiet_server) -> str:
    """An event to look at."""
    with quiet_server.client() as client:
        return store(client, 0, "camera-00")


def open_view(tab: Any, page: PageUnderTest, path: str, entry: str) -> None:
    tab.goto(page.address + path.format(entry=entry))
    tab.locator("#status .problem").wait_for()


VIEWS = [
    "/",
    "/camera?name=camera-00",
    "/events",
    "/events/{entry}",
    "/label",
    "/not-inspected",
    "/health",
    "/events/1-1",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", VIEWS)
def test_axe_finds_nothing_serious(quiet_page, entry, tab, path, scheme):
    tab.emulate_media(color_scheme=scheme)
    open_view(tab, quiet_page, path, entry)
    tab.evaluate(AXE)
    found = tab.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    serious = [
        (rule["id"], [node["html"] for node in rule["nodes"]])
        for rule in found
        if rule["impact"] in {"serious", "critical"}
    ]
    assert serious == [], json.dumps(serious, indent=1)


@pytest.mark.parametrize("path", VIEWS)
def test_a_phone_needs_no_sideways_scrolling(quiet_page, entry, tab, path):
    tab.set_viewport_size({"width": 360, "height": 740})
    open_view(tab, quiet_page, path, entry)
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 360


def test_a_wall_screen_shows_32_cameras_at_once(many, tab):
    tab.set_viewport_size({"width": 1920, "height": 1080})
    open_view(tab, many, "/", "")
    tiles = tab.locator(".tile")
    assert tiles.count() == 32
    boxes = [tile.bounding_box() for tile in tiles.all()]
    assert max(box["y"] + box["height"] for box in boxes) <= 1080
    assert max(box["x"] + box["width"] for box in boxes) <= 1920


def test_nothing_moves(quiet_page, entry, tab):
    tab.emulate_media(reduced_motion="reduce")
    open_view(tab, quiet_page, "/", entry)
    assert tab.evaluate("document.getAnimations().length") == 0


def test_the_first_view_weighs_at_most_300_kilobytes(many, tab):
    sizes: list[float] = []
    session = tab.context.new_cdp_session(tab)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda loaded: sizes.append(loaded["encodedDataLength"]))
    tab.goto(many.address, wait_until="load")
    assert len(sizes) >= 6
    assert sum(sizes) <= 300_000
