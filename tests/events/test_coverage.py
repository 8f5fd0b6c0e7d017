"""A consumer computes one outcome for each frame number; every entry fits its schema."""

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.gaps import GapAggregator
from monitor.events.coverage import (
    Dropped,
    NameConflict,
    RecipeChange,
    conflict_entry,
    coverage_schema,
    dropped_entry,
    format_numbers,
    gap_entry,
    parse_numbers,
    recipe_entry,
    state_entry,
)
from monitor.events.schemas import COVERAGE_SCHEMA_FILE, coverage_stream_schema, schema_text
from monitor.records import CameraStateChange, Gap

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["clean", "defect", "overload", "late", "damaged", "lost-upstream"]),
            st.floats(0, 0.7),
        ),
        max_size=80,
    ),
    st.randoms(use_true_random=False),
)
def test_each_frame_number_has_exactly_one_outcome(steps: list[tuple[str, float]], draw):
    """Causes interleave in any order; `late` and `overload` are found after later frames came."""
    gaps, entries, events, queued, now, number = GapAggregator("cam"), [], [], [], 0.0, 0
    expected: dict[int, str] = {}
    for outcome, pause in steps:
        now += pause
        frames = draw.randint(1, 30) if outcome == "lost-upstream" else 1
        expected |= dict.fromkeys(range(number, number + frames), outcome)
        if outcome == "defect":
            events.append(number)
        elif outcome in ("late", "overload"):
            queued.append((outcome, number))
        elif outcome != "clean":
            gaps.record_lost(outcome, number, NOW, now, frames=frames)
        while queued and draw.random() < 0.5:
            cause, waiting = queued.pop(0)
            gaps.record_lost(cause, waiting, NOW, now)
        entries += map(gap_entry, gaps.pop_due(now))
        number += frames
    for cause, waiting in queued:
        gaps.record_lost(cause, waiting, NOW, now)
    entries += map(gap_entry, gaps.pop_all())

    found = dict.fromkeys(range(number), "clean") | dict.fromkeys(events, "defect")
    for entry in entries:
        numbers = list(parse_numbers(entry["numbers"]))
        assert len(numbers) == int(entry["frames"])
        assert (numbers[0], numbers[-1]) == (int(entry["first"]), int(entry["last"]))
        assert all(found[one] == "clean" for one in numbers), "a number has two outcomes"
        found |= dict.fromkeys(numbers, entry["cause"])
    assert found == expected


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=60))
def test_numbers_survive_their_text(numbers: set[int]):
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    assert list(parse_numbers(format_numbers(tuple(ranges)))) == sorted(numbers)


def test_numbers_as_documented():
    assert format_numbers(((812, 815), (829, 829))) == "812-815,829"
    assert list(parse_numbers("812-815,829")) == [812, 813, 814, 815, 829]
    assert list(parse_numbers("")) == []
    with pytest.raises(ValueError, match="literal"):
        list(parse_numbers("812-x"))


@pytest.mark.parametrize(
    "entry",
    [
        gap_entry(Gap("cam", 3, 9, NOW, NOW, 5, "overload", None, ((3, 5), (8, 9)))),
        gap_entry(Gap("cam", None, None, NOW, NOW + timedelta(seconds=3), 0, "timeout", "no answer in 3 s")),
        state_entry(CameraStateChange("cam", "down", NOW, "timeout", "no answer in 3 s")),
        dropped_entry(Dropped("*", 1, 2, 3, NOW, NOW)),
        conflict_entry(NameConflict("cam", "line1", "line2", NOW)),
        conflict_entry(NameConflict("cam", "line1", None, NOW)),
        recipe_entry(RecipeChange("cups", "plates", NOW)),
    ],
    ids=lambda entry: entry["kind"],
)
def test_every_kind_of_entry_is_valid_against_its_schema(entry: dict[str, str]):
    jsonschema.validate(entry, coverage_schema())
    for name in set(entry) - {"kind", "camera"}:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(entry | {f"{name}x": entry[name]}, coverage_schema())


def test_the_schema_that_ships_is_the_one_of_the_code():
    assert COVERAGE_SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(coverage_stream_schema())
    assert json.loads(COVERAGE_SCHEMA_FILE.read_text(encoding="utf-8"))["oneOf"]
