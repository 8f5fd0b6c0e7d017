"""Results come in any order; what goes out is every frame number in its order, with its own outcome."""

import json
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.events.schemas import VERDICTS_SCHEMA_FILE, schema_text, verdicts_schema
from monitor.events.verdicts import BatchSequence, FrameOrder, FrameResult, VerdictBatch, unreported

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def result(first: int, last: int | None = None, outcome: str = "clean") -> FrameResult:
    return FrameResult(first, first if last is None else last, outcome, NOW + timedelta(seconds=first), 0.25)  # type: ignore[arg-type]


def batch(first: int, results: list[FrameResult], end: str | None = None) -> VerdictBatch:
    following = results[-1].last + 1 if results else first
    return VerdictBatch(
        daemon="line1",
        run="a1",
        camera="top",
        first=first,
        next=following,
        end=end,  # type: ignore[arg-type]
        verdicts=tuple(one.verdict() for one in results),
    )


@given(st.lists(st.integers(1, 4), max_size=40), st.randoms(use_true_random=False), st.integers(2, 60))
def test_every_number_comes_out_once_and_in_order(sizes: list[int], draw, room: int):
    results, number = [], 0
    for size in sizes:
        results.append(result(number, number + size - 1, draw.choice(["clean", "defect", "dropped"])))
        number += size
    never = [one for one in results if draw.random() < 0.1]
    arriving = [one for one in results if one not in never]
    arriving += [one for one in arriving if draw.random() < 0.2]  # a number gets a second result
    draw.shuffle(arriving)
    order, out = FrameOrder(max_waiting=room), []
    for one in arriving:
        order.add(one)
        if draw.random() < 0.5:
            out += order.pop()
    out += order.pop_all(number, "stopping")
    assert [n for one in out for n in range(one.first, one.last + 1)] == list(range(number))
    truth = {n: one.outcome for one in arriving for n in range(one.first, one.last + 1)}
    for one in out:
        for n in range(one.first, one.last + 1):
            assert one.outcome == "unreported" or truth[n] == one.outcome
            assert n in truth or one.outcome == "unreported"
    if len(arriving) <= room:  # nothing was given up before the end
        missing = [n for one in out if one.outcome == "unreported" for n in range(one.first, one.last + 1)]
        assert sorted(missing) == sorted(set(range(number)) - set(truth))


def test_a_frame_without_a_result_holds_up_only_so_many_later_ones():
    order = FrameOrder(max_waiting=2)
    for number in (0, 2, 3):
        order.add(result(number))
    assert [one.first for one in order.pop()] == [0]
    order.add(result(4))
    assert order.pop() == [FrameResult(1, 1, "unreported", cause="overdue"), result(2), result(3), result(4)]
    order.add(result(1))  # too late: its number has its entry
    assert order.pop() == []
    assert order.next == 5


def test_results_become_one_range_where_there_is_no_room():
    (one,) = unreported([result(4), result(5, 9, "dropped"), result(10)], "outbox-full")
    assert one == FrameResult(4, 10, "unreported", NOW + timedelta(seconds=4), cause="outbox-full")
    assert unreported([], "outbox-full") == []


@given(st.sets(st.integers(1, 8)), st.integers(0, 3))
def test_a_reader_learns_which_frames_lost_batches_held(lost: set[int], repeated: int):
    sequence, numbers = BatchSequence(), []
    batches = [batch(3 * index, [result(3 * index, 3 * index + 2)]) for index in range(10)]
    for index, each in enumerate(batches):
        if index in lost:
            continue
        for _ in range(1 + (index == repeated)):
            if (missing := sequence.missing_before(each)) is not None:
                (verdict,) = missing.verdicts
                assert (verdict.outcome, verdict.cause) == ("unreported", "missing")
                assert verdict.last_number is not None
                numbers += range(verdict.frame_number, verdict.last_number + 1)
    assert numbers == [n for index in sorted(lost) for n in range(3 * index, 3 * index + 3)]
    other = batches[1].model_copy(update={"run": "b2"})  # another run begins with 0
    missing = sequence.missing_before(other)
    assert missing is not None
    assert (missing.run, missing.first, missing.next) == ("b2", 0, 3)
    assert BatchSequence().missing_before(other) is None  # this reader began in between


@pytest.mark.parametrize(
    "entry",
    [
        batch(0, []),
        batch(
            0,
            [
                result(0, outcome="defect"),
                result(1)._replace(source_name="a.png"),
                FrameResult(2, 8, "dropped", NOW, cause="lost-upstream"),
                FrameResult(9, 9, "unusable", NOW, cause="unreadable", source_name="b.png"),
                FrameResult(10, 11, "unreported", cause="outbox-full"),
            ],
        ),
        batch(7, [], end="killed"),
    ],
)
def test_every_batch_is_valid_against_the_shipped_schema(entry: VerdictBatch):
    schema = json.loads(VERDICTS_SCHEMA_FILE.read_text(encoding="utf-8"))
    message = entry.notice(NOW)
    document = json.loads(dict(message.fields)["verdicts"])
    jsonschema.validate(document, schema)
    assert VerdictBatch.model_validate_json(dict(message.fields)["verdicts"]) == entry
    assert message.numbers == (((entry.first, entry.next - 1),) if entry.verdicts else ())
    for broken in ({"first": -1}, {"end": "soon"}, {"verdicts": [{"frame_number": 0, "outcome": "good"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document | broken, schema)


def test_the_schema_that_ships_is_the_one_of_the_code():
    assert VERDICTS_SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(verdicts_schema())
