"""What was not inspected: exact frames and times, also while an outage goes on."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.events.coverage import format_numbers, gap_entry, parse_numbers
from monitor.records import Gap
from monitor.web.not_inspected import LossRow, join_losses

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.floats(0, 5)), max_size=30))
def test_joining_rows_keeps_every_frame_number_and_the_times(steps):
    rows, number, at = [], 0, NOW
    for frames, clean, pause in steps:
        number, at = number + clean, at + timedelta(seconds=pause)
        numbers = format_numbers([(number, number + frames - 1)])
        rows.append(LossRow("left", "overload", at, at, frames, numbers))
        number += frames
    joined = join_losses(rows)
    lost = [n for row in rows for n in parse_numbers(row.numbers)]
    assert [n for row in joined for n in parse_numbers(row.numbers)] == lost
    assert sum(row.frames for row in joined) == len(lost)
    assert all(row.ended_at - row.started_at <= timedelta(minutes=1) for row in joined)
    if rows:
        assert (joined[0].started_at, joined[-1].ended_at) == (rows[0].started_at, rows[-1].ended_at)


def test_ranges_that_adjoin_become_one():
    rows = [LossRow("left", "overload", NOW, NOW, 3, numbers) for numbers in ("1,5-6", "7-9,12", "13")]
    assert [row.numbers for row in join_losses(rows)] == ["1,5-9,12-13"]


def test_each_loss_is_listed_with_its_frames_and_times(quiet_server, quiet_page, tab):
    at = datetime.now(UTC) - timedelta(minutes=10)
    gaps = [
        Gap("left", 812, 829, at, at + timedelta(seconds=1), 5, "overload", None, ((812, 815), (829, 829))),
        Gap("left", None, None, at, at + timedelta(minutes=2), 0, "timeout", "no frame for 3 s"),
    ]
    with quiet_server.client() as client:
        for gap in gaps:
            client.xadd("defects:coverage", gap_entry(gap))
        dropped = {"kind": "shed", "camera": "left", "pictures": "0", "events": "2", "notices": "0"}
        client.xadd(
            "defects:coverage",
            {**dropped, "from": at.isoformat(), "to": at.isoformat(), "cause": "outbox-full"},
        )
        client.xadd("defects:coverage", {"kind": "gap", "camera": "left", "cause": "of another version"})
    tab.goto(f"{quiet_page.address}/not-inspected?camera=left")
    text = tab.locator("table").inner_text()
    assert "5: 812-815, 829" in text
    assert "2 min 0 s" in text
    assert "no frame for 3 s" in text
    assert "2 flagged frames were not stored" in text
    assert "still going on" in text  # no daemon answers this page
    tab.emulate_media(media="print")
    assert tab.locator("nav").first.is_hidden()
    assert tab.locator("table").is_visible()


def test_a_time_that_is_none_is_refused_in_words(quiet_page):
    answer = quiet_page.get("/not-inspected?since=yesterday")
    assert answer.status == 400
    assert "The address is not complete or not valid." in answer.text
