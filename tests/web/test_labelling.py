"""The Label view: order, keys, boxes, second opinions, missed defects, roles, frames that are gone."""

import base64
import itertools
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.event import EventFamiliarity, EventIncident
from monitor.events.labels import Label
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.labelling import build_label, find_target
from monitor.web.labelling.book import LabelBook
from monitor.web.labelling.queue import LabelFrame, doubt, order_by_information
from tests.support.daemon_process import wait_for
from tests.support.events import make_event
from tests.support.labels import make_mask, make_sample
from tests.support.page_login import FORM, session_of
from tests.support.stored_events import store
from tests.support.stored_labels import store_sample, stored_labels

BASES = itertools.count(100, 100)
"""Frame numbers: the page remembers frames and labels, so each test has frames of its own."""

NOW = datetime(2026, 11, 30, tzinfo=UTC)
UNFAMILIAR = EventFamiliarity(distance=9.0, limit=3.0, unfamiliar=True)


@pytest.fixture
def client(quiet_server: Any) -> Any:
    with quiet_server.client() as plain:
        plain.flushall()
        yield plain


def flagged(number: int, score: float, **changes: Any) -> LabelFrame:
    event = make_event(number).model_copy(
        update={"score": score, "captured_at": NOW + timedelta(seconds=number), **changes}
    )
    return LabelFrame.of_event(event, f"{number}-0")


def test_samples_come_first_among_them_unfamiliar_frames_and_those_near_the_threshold() -> None:
    near, sure = flagged(1, 0.51), flagged(2, 0.99)
    clean_near = LabelFrame.of_sample(make_sample(3, reason="near-threshold", score=0.48))
    clean = LabelFrame.of_sample(make_sample(4, score=0.1))
    strange = replace(flagged(5, 0.99, familiarity=UNFAMILIAR), has_sample=True)
    disputed = LabelFrame.of_sample(make_sample(6, reason="shadow-differs", score=0.1))
    assert order_by_information([clean, sure, clean_near, disputed, strange, near]) == [
        strange,
        disputed,
        clean_near,
        clean,
        near,  # the last two are not kept for learning
        sure,
    ]


def test_the_score_of_an_unfamiliar_frame_does_not_matter() -> None:
    near, newer = (flagged(n, score, familiarity=UNFAMILIAR) for n, score in ((1, 0.51), (2, 0.99)))
    assert order_by_information([near, newer]) == [newer, near]


def test_one_frame_of_an_incident_comes_before_the_others_of_it() -> None:
    incident = EventIncident(id="i", phase="update")
    first, second = flagged(1, 0.6, incident=incident), flagged(2, 0.7, incident=incident)
    other = flagged(3, 0.9)
    assert order_by_information([second, other, first]) == [first, other, second]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.sampled_from([None, "a", "b"])), max_size=20))
def test_the_order_holds_every_frame_once_and_never_puts_certainty_before_doubt(
    drawn: list[tuple[float, bool, str | None]],
) -> None:
    frames = [
        flagged(
            number,
            score,
            familiarity=UNFAMILIAR if strange else None,
            incident=None if incident is None else EventIncident(id=incident, phase="update"),
        )
        for number, (score, strange, incident) in enumerate(drawn)
    ]
    ordered = order_by_information(frames)
    assert sorted(it.number for it in ordered) == list(range(len(frames)))
    alone = [it for it in ordered if it.incident is None]
    ranks = [0 if it.is_unfamiliar else 2 - doubt(it) for it in alone]
    assert ranks == sorted(ranks)
    assert all(0 <= doubt(it) <= 1 for it in frames)


def test_keys_answer_and_undo_and_the_next_frame_is_shown(client: Any, quiet_page: Any, tab: Any) -> None:
    base = next(BASES)
    store(client, base, score=0.99)
    store(client, base + 1, score=0.51)
    sample = store_sample(client, base + 2, score=0.2)
    shown = tab.locator("#question input[name=frame]")
    tab.goto(f"{quiet_page.address}/label")
    nearest = make_event(base + 1, "left").id
    assert shown.get_attribute("value") == sample
    tab.keyboard.press("1")
    tab.locator(".notice").wait_for()
    assert [(it.subject.id, it.answer) for it in stored_labels(client)] == [(sample, "defect")]
    assert shown.get_attribute("value") == nearest
    tab.get_by_label("Kind of defect (optional)").fill("123u")  # keys in a field are text
    assert len(stored_labels(client)) == 1
    tab.keyboard.press("Escape")
    tab.get_by_label("Kind of defect (optional)").fill("")
    tab.get_by_label("Kind of defect (optional)").blur()
    tab.keyboard.press("u")
    tab.wait_for_url("**/label?*frame=*")
    assert shown.get_attribute("value") == sample
    assert stored_labels(client)[1].withdraws == stored_labels(client)[0].id
    tab.keyboard.press("2")
    tab.locator(".notice").wait_for()
    tab.keyboard.press("3")
    tab.wait_for_url(f"**last={nearest}")
    assert [it.answer for it in stored_labels(client)[2:]] == ["good", "unsure"]
    tab.keyboard.press("1")
    tab.get_by_text("No frame waits for an answer here.").wait_for()
    labels = stored_labels(client)
    assert (len(labels), labels[-1].model_sha256, labels[-1].subject.kind) == (5, "a" * 64, "event")


def place(tab: Any, x: int, y: int) -> tuple[float, float]:
    """Where the pixel of the frame of 64 x 48 is in the window."""
    area = tab.locator("#drawing").bounding_box()
    return area["x"] + area["width"] * x / 64, area["y"] + area["height"] * y / 48


def drag(tab: Any, *points: tuple[int, int]) -> None:
    tab.mouse.move(*place(tab, *points[0]))
    tab.mouse.down()
    for point in points[1:]:
        tab.mouse.move(*place(tab, *point))
    tab.mouse.up()


def mask_of(label: Label) -> Any:
    """The mask of a label, as True where the defect is."""
    assert label.mask_png is not None
    data = np.frombuffer(base64.b64decode(label.mask_png), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED) > 0


def test_boxes_are_drawn_with_the_mouse_or_typed(client: Any, quiet_page: Any, tab: Any) -> None:
    base = next(BASES)
    store_sample(client, base + 1)
    store_sample(client, base + 2)
    tab.goto(f"{quiet_page.address}/label")
    drag(tab, (8, 12), (20, 30), (24, 36))
    assert tab.locator("#drawing rect").count() == 1
    tab.get_by_label("Boxes (optional)").focus()
    tab.keyboard.press("End")
    tab.keyboard.type("; 1,2,3,4")
    assert tab.locator("#drawing rect").count() == 2
    tab.get_by_label("Kind of defect (optional)").fill("Kratzer")
    tab.get_by_role("button", name="Defect 1").click()
    tab.locator(".notice").wait_for()
    (label,) = stored_labels(client)
    assert (label.answer, label.defect_kind) == ("defect", "Kratzer")
    drawn, typed = label.boxes
    assert [drawn.x, drawn.y, drawn.width, drawn.height] == pytest.approx([8, 12, 16, 24], abs=1)
    assert (typed.x, typed.y, typed.width, typed.height) == (1, 2, 3, 4)
    assert tab.locator("#kinds option").all_inner_texts() == ["Kratzer"]


def test_a_mask_is_painted_erased_and_cleared(client: Any, quiet_page: Any, tab: Any) -> None:
    base = next(BASES)
    for number in range(3):
        store_sample(client, base + number)
    tab.goto(f"{quiet_page.address}/label")
    tab.keyboard.press("b")
    assert tab.get_by_role("button", name="Brush B").get_attribute("aria-pressed") == "true"
    tab.get_by_label("Size of the brush").fill("6")
    drag(tab, (5, 5), (50, 5))
    drag(tab, (5, 40), (50, 40))
    tab.keyboard.press("e")
    drag(tab, (30, 5), (63, 5))
    tab.keyboard.press("x")
    drag(tab, (2, 20), (12, 30))
    tab.keyboard.press("1")  # also after the size was changed
    tab.locator(".notice").wait_for()
    (label,) = stored_labels(client)
    mask = mask_of(label)
    assert mask.shape == (48, 64)
    rows, columns = np.nonzero(mask[:20])
    assert (columns.min(), columns.max()) == pytest.approx((3, 27), abs=2)
    assert np.ptp(rows) == pytest.approx(5, abs=2)
    assert mask[40, 5:50].all()
    assert len(label.boxes) == 1
    tab.keyboard.press("b")
    drag(tab, (5, 5), (50, 5))
    tab.get_by_role("button", name="Clear C").click()
    tab.keyboard.press("1")
    wait_for(lambda: len(stored_labels(client)) == 2, 20)
    assert stored_labels(client)[1].mask_png is None


def test_a_finger_paints_and_a_good_frame_has_no_mask(client: Any, quiet_page: Any, chromium: Any) -> None:
    base = next(BASES)
    store_sample(client, base)
    store_sample(client, base + 1)
    phone = chromium.new_context(locale="en-GB", viewport={"width": 390, "height": 844}, has_touch=True)
    tab = phone.new_page()
    tab.goto(f"{quiet_page.address}/label")
    for number, answer in enumerate(("Defect 1", "Good 2"), start=1):
        tab.get_by_role("button", name="Brush B").tap()
        tab.locator("#drawing").scroll_into_view_if_needed()
        tab.touchscreen.tap(*place(tab, 20, 30))
        tab.get_by_role("button", name=answer).tap()
        wait_for(lambda number=number: len(stored_labels(client)) == number, 20)
        tab.locator(".notice").wait_for()
    phone.close()
    painted, good = stored_labels(client)
    rows, columns = np.nonzero(mask_of(painted))
    assert (rows.mean(), columns.mean()) == pytest.approx((30, 20), abs=2)
    assert (good.answer, good.mask_png) == ("good", None)


def test_a_missed_defect_is_one_click_on_a_recent_clean_frame(client: Any, quiet_page: Any, tab: Any) -> None:
    base = next(BASES)
    samples = [store_sample(client, base + number) for number in range(3)]
    tab.goto(f"{quiet_page.address}/label")
    tab.get_by_role("button", name=f"Missed defect left {base + 2}").click()
    tab.locator(".notice").wait_for()
    (label,) = stored_labels(client)
    assert (label.subject.id, label.answer, label.subject.kind) == (samples[2], "defect", "sample")
    assert (
        tab.get_by_role("button", name=re.compile(f"^Missed defect left {base // 100}\\d\\d$")).count() == 2
    )


def post(page: Any, session: dict[str, str], **fields: str) -> Any:
    token = re.findall(r'name="csrf" value="([^"]+)"', page.get("/label", session).text)
    body = urlencode({"csrf": token[0] if token else "", **fields})
    return page.request("POST", "/label", body, {**FORM, **session})


def test_two_people_disagree_and_both_answers_are_shown(client: Any, guarded: Any) -> None:
    base = next(BASES)
    entry = store(client, base)
    operator, engineer = session_of(guarded, "operator"), session_of(guarded, "engineer")
    frame = make_event(base, "left").id
    assert post(guarded, operator, frame=frame, answer="defect", kind="scratch").status == 303
    assert frame not in guarded.get("/label", engineer).text  # answered once: not in the queue any more
    second = guarded.get("/label?show=second", engineer).text
    assert f'value="{frame}"' in second
    assert "operator:" not in second  # the second opinion is not biased by the first
    assert guarded.get("/label?show=second", operator).text.count(f'value="{frame}"') == 0
    answer = post(guarded, engineer, frame=frame, answer="good", show="second")
    shown = guarded.get(answer.getheader("location"), engineer).text
    assert "operator: <strong>Defect</strong> (scratch)" in shown
    assert "The answers differ." in shown
    assert "The answers differ." in guarded.get(f"/events/{entry}", session_of(guarded, "viewer")).text
    assert "Answers differ" in guarded.get("/events", operator).text
    assert {(it.author, it.answer) for it in stored_labels(client)} == {
        ("operator", "defect"),
        ("engineer", "good"),
    }


def test_a_viewer_looks_and_does_not_label(client: Any, guarded: Any) -> None:
    base = next(BASES)
    entry = store(client, base)
    viewer, operator = session_of(guarded, "viewer"), session_of(guarded, "operator")
    assert guarded.get("/label", viewer).status == 403
    assert 'href="/label' not in guarded.get(f"/events/{entry}", viewer).text
    assert 'href="/label' in guarded.get(f"/events/{entry}", operator).text
    fields = urlencode({"csrf": "x", "frame": make_event(base, "left").id, "answer": "good"})
    for session in (viewer, operator):  # an operator's form of another site lacks the token
        assert guarded.request("POST", "/label", fields, {**FORM, **session}).status == 403
    assert guarded.get(f"/label/{make_event(0, 'left').id}/clean", viewer).status == 403
    assert stored_labels(client) == []


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"frame": "left-gone-1", "answer": "good"}, 404, "no longer in Redis, or never was"),
        ({"frame": "{id}", "answer": "undo"}, 404, "no answer about this frame"),
        ({"frame": "{id}", "answer": "bad"}, 400, "not valid"),
        ({"frame": "{id}", "answer": "defect", "boxes": "60,0,30,3"}, 400, "reaches beyond the frame"),
        ({"frame": "{id}", "answer": "defect", "boxes": "1,2"}, 400, "four whole numbers"),
        ({"frame": "{id}", "answer": "defect", "kind": "../etc"}, 400, "the kind: has 1 to 64 characters"),
        ({"frame": "{id}", "answer": "defect", "mask": "?"}, 400, "the mask is not base64 text"),
        ({"frame": "{id}", "answer": "defect", "mask": "AAAA"}, 400, "the mask is not a PNG file"),
        ({"frame": "{id}", "answer": "defect", "mask": make_mask(9, 9)}, 400, "the mask is 9 x 9 pixels"),
        ({"frame": "{id}", "answer": "defect", "mask": make_mask(64, 48)[:60]}, 400, "a damaged one"),
        ({"frame": "{id}", "answer": "defect", "mask": "A" * 400_004}, 400, "at most 400000 characters"),
        ({"frame": "{id}", "answer": "defect", "mask": "A" * 800_000}, 400, "not valid"),
    ],
)
def test_what_is_refused_is_one_sentence(
    client: Any, guarded: Any, fields: dict[str, str], status: int, sentence: str
) -> None:
    base = next(BASES)
    store(client, base)
    filled = {name: text.format(id=make_event(base, "left").id) for name, text in fields.items()}
    answer = post(guarded, session_of(guarded, "operator"), **filled)
    assert answer.status == status
    assert sentence in answer.text
    assert stored_labels(client) == []


def test_a_frame_whose_images_expired_is_not_asked_about(client: Any, quiet_page: Any) -> None:
    base = next(BASES)
    store(client, base)
    frame = make_event(base, "left").id
    assert f'value="{frame}"' in quiet_page.get("/label").text
    client.unlink(f"defects:frame:{frame}", f"defects:raw:{frame}")
    assert "No frame waits for an answer here." in quiet_page.get("/label").text
    assert quiet_page.get(f"/label/{frame}/clean").status == 404
    assert quiet_page.get("/label?frame=left-gone-1").status == 404
    assert quiet_page.get("/label?show=everything").status == 400


def test_the_gallery_shows_unlabelled_frames_alone_and_the_sample_is_lossless(
    client: Any, quiet_page: Any, quiet_server: Any
) -> None:
    base = next(BASES)
    labelled, open_ = store(client, base), store(client, base + 1)
    sample = store_sample(client, base + 5)
    history = StreamHistory(quiet_server.url)
    history.add_label(build_label(find_target(history, make_event(base, "left").id), "good", "ann"))
    history.close()
    everything = quiet_page.get("/events").text
    assert f"card-{labelled}" in everything
    assert f"card-{open_}" in everything
    only = quiet_page.get("/events?unlabelled=true").text
    assert f"card-{labelled}" not in only
    assert f"card-{open_}" in only
    answer = quiet_page.get(f"/label/{sample}/clean")
    assert (answer.getheader("content-type"), answer.content[:4]) == ("image/png", b"\x89PNG")


def test_the_book_learns_of_new_frames_and_labels_and_is_bounded(
    client: Any, quiet_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = next(BASES)
    monkeypatch.setattr("monitor.web.labelling.book.MAX_FRAMES", 4)
    monkeypatch.setattr("monitor.web.labelling.book.MAX_LABELLED", 2)
    history = StreamHistory(quiet_server.url)
    book = LabelBook(history)
    assert book.frames() == []
    for number in range(base, base + 6):
        store(client, number)
        history.add_label(build_label(find_target(history, make_event(number, "left").id), "good", "ann"))
    assert [it.number - base for it in book.frames()] == [2, 3, 4, 5]
    assert list(book.standing()) == [make_event(base + number, "left").id for number in (4, 5)]
    assert [it.number - base for it in LabelBook(history).frames()] == [4, 5]
    history.close()
