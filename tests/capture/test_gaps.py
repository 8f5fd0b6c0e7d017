"""Lost frames are merged into few reports, and none is lost on the way."""

import itertools
from collections import defaultdict
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.gaps import GapAggregator

START = datetime(2026, 1, 1, tzinfo=UTC)
CAUSES = ("overload", "unreadable")


@given(st.lists(st.tuples(st.floats(0, 0.7), st.sampled_from([*CAUSES, None])), max_size=60))
def test_every_lost_frame_is_in_one_gap_and_each_cause_reports_once_a_second(
    steps: list[tuple[float, str | None]],
):
    ledger = GapAggregator("cam")
    entered: dict[str, list[int]] = defaultdict(list)
    told: dict[str, list[float]] = defaultdict(list)
    gaps = []
    now = 0.0
    for number, (pause, cause) in enumerate(steps):
        now += pause
        if cause:
            entered[cause].append(number)
            ledger.record_lost(cause, number, START + timedelta(seconds=now), now)
        for gap in ledger.pop_due(now):
            told[gap.cause].append(now)
            gaps.append(gap)
    gaps += ledger.pop_all()
    assert ledger.pop_all() == []
    for cause in CAUSES:
        own = [gap for gap in gaps if gap.cause == cause]
        inside = [[n for n in entered[cause] if gap.first <= n <= gap.last] for gap in own]
        assert list(itertools.chain(*inside)) == entered[cause]
        assert [len(numbers) for numbers in inside] == [gap.frames for gap in own]
        named = [n for gap in own for first, last in gap.numbers for n in range(first, last + 1)]
        assert named == entered[cause]
        assert all(gap.started_at <= gap.ended_at for gap in own)
        assert all(later - earlier >= 1 for earlier, later in zip(told[cause], told[cause][1:], strict=False))


def test_a_gap_keeps_the_first_reason_and_the_true_times():
    ledger = GapAggregator("cam")
    ledger.record_lost("unreadable", 4, START, 0.0, detail="4.png: broken")
    ledger.record_lost("unreadable", 6, START + timedelta(seconds=0.3), 0.3, detail="6.png: broken")
    assert ledger.pop_due(0.99) == []
    (gap,) = ledger.pop_due(1.0)
    assert (gap.camera, gap.first, gap.last, gap.frames) == ("cam", 4, 6, 2)
    assert (gap.started_at, gap.ended_at) == (START, START + timedelta(seconds=0.3))
    assert gap.detail == "4.png: broken"


def test_a_gap_of_very_many_ranges_is_due_before_its_window_is_over():
    ledger = GapAggregator("cam")
    for number in range(0, 1200, 2):
        ledger.record_lost("overload", number, START, 0.0)
    (gap,) = ledger.pop_due(0.0)
    assert len(gap.numbers) == gap.frames == 600


def test_the_detail_names_every_file_of_a_folder_that_was_not_inspected():
    gaps = GapAggregator("line")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    gaps.record_lost("unreadable", 0, at, 0.0, detail="/in/a.png: not an image", name="a.png")
    gaps.record_lost("unreadable", 1, at, 0.1, detail="/in/b.png: not an image", name="b.png")
    gaps.record_lost("unreadable", 2, at, 0.2, detail="/in/c.png: the file is empty", name="c.png")
    gaps.record_lost("unusable", 3, at, 0.3, detail="black", name="d.png")
    assert [gap.detail for gap in gaps.pop_all()] == [
        "/in/a.png: not an image; also b.png, c.png",
        "d.png: black",
    ]
    for number in range(500):
        gaps.record_lost("unusable", number, at, 0.3, detail="black", name=f"{number:04}.png")
    (gap,) = gaps.pop_all()
    assert gap.frames == 500
    assert gap.detail is not None
    assert 1000 < len(gap.detail) < 1050
    assert gap.detail.endswith(".png, …")
