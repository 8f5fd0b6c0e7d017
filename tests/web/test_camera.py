"""The Camera view in a real browser: live picture, strip, and tuning with pointer and keyboard."""

import tomllib
import urllib.request

from tests.support.daemon_process import wait_for
from tests.support.page import wait_for_script


def open_camera(line, tab, name="left"):
    line.daemon.ready()
    tab.goto(f"{line.page.address}/camera?name={name}")
    tab.locator("#video").wait_for()


def wait_for_picture(tab):
    wait_for_script(tab, "document.getElementById('video').naturalWidth > 0")


def test_the_picture_is_live_and_tells_its_age(line, tab):
    open_camera(line, tab)
    wait_for_picture(tab)
    caption = tab.locator(".video figcaption")
    caption.locator("[data-since]").wait_for()
    first = caption.inner_text()
    wait_for_script(tab, "text => document.querySelector('.video figcaption').innerText !== text", first)
    assert "Frame" in first
    tab.locator("#strip .verdicts").wait_for()
    assert "publish is off" in tab.locator("#strip").inner_text()


def test_a_flagged_frame_reaches_the_strip(line, tab):
    open_camera(line, tab)
    tab.locator("#strip .verdicts .flagged").first.wait_for(timeout=60_000)


def test_the_region_is_drawn_with_the_pointer_and_becomes_toml(line, tab):
    open_camera(line, tab)
    wait_for_picture(tab)
    tab.locator("#tuned", has_text="As in the settings in force").wait_for()
    box = tab.locator("#overlay").bounding_box()
    corner = box["x"] + box["width"] / 4, box["y"] + box["height"] / 4
    tab.mouse.move(*corner)
    tab.mouse.down()
    tab.mouse.move(corner[0] + box["width"] / 2, corner[1] + box["height"] / 2, steps=4)
    tab.mouse.up()
    tab.get_by_label("Rows of tiles").fill("2")
    tab.get_by_label("Score threshold").fill("0.99")
    tab.get_by_label("Score threshold").press("Tab")
    tab.locator("#toml", has_text="0.99").wait_for()
    written = tomllib.loads(tab.locator("#toml").inner_text())
    assert written["camera"] == [{"name": "left", "roi": written["camera"][0]["roi"], "tiles": [2, 1]}]
    assert written["model"] == {"threshold": 0.99}
    for found, expected in zip(written["camera"][0]["roi"], (128, 128, 256, 256), strict=True):
        assert abs(found - expected) <= 3
    assert tab.locator("#overlay .tile-box").count() == 2
    assert tab.get_by_role("cell", name="Fine structure to coarse").count() == 1
    assert "would still be flagged" in tab.locator("#tuned").inner_text()


def test_the_region_is_moved_and_sized_with_the_keyboard_alone(line, tab):
    open_camera(line, tab)
    tab.locator("#tuned", has_text="As in the settings in force").wait_for()
    overlay = tab.locator("#overlay")
    while not tab.evaluate("document.activeElement?.id === 'overlay'"):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Shift+ArrowLeft")
    tab.keyboard.press("Shift+ArrowUp")
    tab.keyboard.press("ArrowRight")
    tab.locator("#toml").wait_for()
    wait_for_script(tab, "document.getElementById('toml').innerText.includes('5, 0, 507, 507')")
    assert overlay.locator("#roi").get_attribute("x") == "5"
    tab.get_by_role("button", name="Back to the settings in force").click()
    tab.locator("#tuned", has_text="As in the settings in force").wait_for()


def test_a_region_outside_of_the_frame_is_explained(line, tab):
    open_camera(line, tab)
    tab.locator("#tuned", has_text="As in the settings in force").wait_for()
    tab.get_by_label("x", exact=True).fill("400")
    tab.get_by_label("x", exact=True).press("Tab")
    tab.locator("#tuned [role=alert]", has_text="does not lie within").wait_for()


def test_too_many_viewers_get_a_clear_answer(line, tab):
    line.daemon.ready()
    address = f"{line.page.address}/camera.mjpeg?name=right"
    streams = [urllib.request.urlopen(address, timeout=10) for _ in range(8)]
    try:
        for stream in streams:
            assert stream.read(9) == b"--frame\r\n"
        assert line.page.get("/camera.mjpeg?name=right").status == 503
        tab.goto(f"{line.page.address}/camera?name=right")
        tab.locator(".video", has_text="Too many people watch").wait_for()
    finally:
        for stream in streams:
            stream.close()
    wait_for(lambda: "Too many" not in line.page.get("/camera?name=right").text, 20)
    with urllib.request.urlopen(address, timeout=10) as stream:
        assert b"image/jpeg" in stream.read(64)


def test_an_unknown_camera_is_no_page(line):
    for path in ("/camera", "/camera?name=nobody", "/camera.mjpeg?name=%3Cscript%3E", "/camera/strip?name="):
        assert line.page.get(path).status == 404
