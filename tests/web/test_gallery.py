"""The gallery and the page of one event: filters, groups, keys, addresses, export, hostile content."""

import io
import json
import zipfile
from datetime import timedelta
from itertools import pairwise
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.events.event import EventIncident
from monitor.redis_streams.history import StreamHistory
from monitor.web.event import waterfall
from monitor.web.gallery import MAX_SCANNED, EventFilter, find_events
from tests.support.events import make_event
from tests.support.stored_events import BEGIN, store


@pytest.fixture
def client(quiet_server):
    with quiet_server.client() as plain:
        plain.flushall()
        yield plain


def entries_of(page, query: str = "") -> list[str]:
    import re

    return re.findall(r'id="card-([0-9-]+)"', page.get(f"/events?{query}").text)


def test_filters_show_what_they_say(client, quiet_page):
    incident = EventIncident(id="one", phase="update")
    low = store(client, 0, score=0.6)
    right = store(client, 1, "right")
    first = store(client, 2, incident=incident)
    last = store(client, 3, incident=incident)
    assert entries_of(quiet_page) == [last, right, low]  # an incident is one card, its newest frame first
    assert entries_of(quiet_page, "camera=right") == [right]
    assert entries_of(quiet_page, "max_score=0.7") == [low]
    assert entries_of(quiet_page, "label=scratch") == []
    since = (BEGIN + timedelta(seconds=1.5)).isoformat().replace("+", "%2B")
    assert entries_of(quiet_page, f"until={since}") == [right, low]
    assert f"/events/{first}" in quiet_page.get(f"/events/{last}").text  # the incident's other frame


def test_ten_thousand_events_are_read_in_pages_of_a_bounded_size(client, quiet_server):
    pipe = client.pipeline(transaction=False)
    event = make_event(0, "left")
    for number in range(10_000):
        one = event.model_copy(update={"id": f"left-{number}", "frame_number": number})
        pipe.xadd("defects:events", {"id": one.id, "camera": "left", "event": one.to_json()})
    pipe.execute()
    history = StreamHistory(quiet_server.url)
    found = find_events(history, EventFilter())
    assert (found.scanned, found.events[0].event.frame_number) == (48, 9_999)
    following = find_events(history, EventFilter(before=found.next_before))
    assert following.events[0].event.frame_number == 9_951
    none = find_events(history, EventFilter(label="scratch"))
    assert (none.events, none.scanned) == ((), MAX_SCANNED)
    rest = find_events(history, EventFilter(label="scratch", before=none.next_before), max_scanned=6_000)
    assert (rest.scanned, rest.next_before) == (5_000, None)


def test_the_keyboard_alone_opens_an_event_and_comes_back(client, quiet_page, tab):
    entries = [store(client, number) for number in range(3)]
    tab.goto(f"{quiet_page.address}/events")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**/events/{entries[1]}")
    tab.keyboard.press("ArrowRight")  # the older one
    tab.wait_for_url(f"**/events/{entries[0]}")
    tab.keyboard.press("Escape")
    tab.wait_for_url("**/events?camera=left")


def test_an_event_appears_in_the_open_gallery_within_two_seconds(client, quiet_page, tab):
    store(client, 0)
    tab.goto(f"{quiet_page.address}/events")
    tab.locator("#status .problem").wait_for()  # connected: no daemon answers this page
    entry = store(client, 1)
    tab.locator(f"#card-{entry}").wait_for(timeout=2000)


def test_the_images_of_an_event_lie_on_the_same_pixels(client, quiet_page, tab):
    entry = store(client, 0)
    tab.goto(f"{quiet_page.address}/events/{entry}")
    annotated = tab.locator(".layer-annotated").bounding_box()
    tab.get_by_label("Raw").check()
    raw, boxes = tab.locator(".layer-raw").bounding_box(), tab.locator(".boxes").bounding_box()
    assert (raw["x"], raw["y"], raw["width"]) == (annotated["x"], annotated["y"], annotated["width"])
    assert (boxes["x"], boxes["y"], boxes["width"]) == (raw["x"], raw["y"], raw["width"])
    tab.get_by_label("4×").check()
    assert tab.locator(".layer-raw").bounding_box()["width"] == pytest.approx(4 * raw["width"], rel=0.01)


def test_the_stages_of_the_waterfall_add_up():
    bars = waterfall(make_event())
    assert all(after.start == before.start + before.seconds for before, after in pairwise(bars))
    assert bars[-1].start + bars[-1].seconds == pytest.approx(sum(make_event().latency.values()))


def test_the_export_holds_documents_and_images(client, quiet_page):
    chosen = store(client, 0)
    store(client, 1)
    for query, count in ((f"id={chosen}", 1), ("", 2), ("camera=right", 0)):
        packed = zipfile.ZipFile(io.BytesIO(quiet_page.get(f"/events.zip?{query}").content))
        lines = [json.loads(line) for line in packed.read("events.jsonl").splitlines()]
        assert len(lines) == count
        assert {f"{kind}/{line['id']}.jpg" for line in lines for kind in ("annotated", "raw")} == {
            name for name in packed.namelist() if name != "events.jsonl"
        }


def test_hostile_names_and_labels_are_text(client, quiet_page, tab):
    hostile = '<img src=x onerror="document.title=1">"\'&<script>document.title=2</script>'
    entry = store(client, 0, hostile, label=hostile, source_name=hostile)
    for path in ("/events", f"/events/{entry}", "/", "/not-inspected"):
        tab.goto(quiet_page.address + path)
        tab.locator("#status .problem").wait_for()
        assert hostile in tab.locator("main").inner_text()
        assert tab.locator("main script, main img[src=x]").count() == 0
        assert "defect-monitor" in tab.title()


def test_an_event_names_no_other_key_than_its_own_images(client, quiet_page):
    client.set("defects:secret", "secret")
    entry = store(client, 0, keys={"frame_key": "defects:secret", "raw_key": None})
    assert quiet_page.get(f"/events/{entry}/annotated.jpg").status == 404
    assert quiet_page.get(f"/events/{entry}").status == 200


def test_an_event_that_is_gone_is_said_to_be(client, quiet_page):
    assert quiet_page.get("/events/1-1").status == 404
    entry = store(client, 0)
    found = json.loads(quiet_page.get(f"/events/{entry}.json").text)
    assert quiet_page.get(f"/events/id/{found['id']}").getheader("location") == f"/events/{entry}"
    assert quiet_page.get(f"/events/{entry}/small.jpg").status == 200


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
MOMENT = st.one_of(st.datetimes().map(lambda at: at.isoformat()), TEXT, st.just("0001-01-01T00:00+23:59"))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["/events", "/not-inspected", "/events.zip"]),
    st.fixed_dictionaries(
        {},
        optional={
            "camera": TEXT,
            "label": TEXT,
            "before": TEXT | st.just("5-5"),
            "since": MOMENT,
            "until": MOMENT,
            "min_score": TEXT | st.floats(),
            "id": TEXT,
        },
    ),
)
def test_no_address_makes_the_page_fail(quiet_page, path, query):
    assert quiet_page.get(f"{path}?{urlencode(query)}").status in {200, 400, 404}
