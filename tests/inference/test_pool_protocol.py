"""The bytes between a line PC and a pool: what was sent comes back, and anything else is refused."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.inference.handle import CamHeat, Classification
from monitor.inference.pool_protocol import (
    ProtocolError,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from monitor.models.novelty import NoveltyScore

MODEL = "a" * 64

fractions = st.floats(0, 1, width=32)


@st.composite
def heats(draw: st.DrawFn) -> CamHeat:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    size = rows * columns
    values = draw(st.lists(fractions, min_size=size, max_size=size))
    has_extents = draw(st.booleans())
    return CamHeat(
        np.array(values, np.float32).reshape(rows, columns),
        draw(st.floats(0, 1e9)),
        draw(st.sampled_from(["mean-activation", "faster-score-cam"])),
        draw(st.integers(0, 99)),
        np.arange(4 * size, dtype=np.float32).reshape(rows, columns, 4) if has_extents else None,
    )


@st.composite
def answers(draw: st.DrawFn) -> Classification:
    count = draw(st.integers(1, 5))

    def many(each):
        return draw(st.lists(each, min_size=count, max_size=count))

    return Classification(
        np.array(many(fractions | st.just(float("nan"))), np.float32),
        many(st.none() | st.builds(NoveltyScore, st.floats(0, 1e9), st.floats(0.1, 1e3))),
        many(st.none() | heats()),
        many(st.none() | st.text(max_size=5)) if draw(st.booleans()) else [],
    )


def is_same(one: CamHeat | None, other: CamHeat | None) -> bool:
    if one is None or other is None:
        return one is other
    arrays_agree = all(
        (mine is None) is (its is None) and (mine is None or np.array_equal(mine, its))
        for mine, its in ((one.heatmap, other.heatmap), (one.extents, other.extents))
    )
    return arrays_agree and one[1:4] == other[1:4]


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.data())
def test_a_request_comes_back_as_it_was_sent_and_a_damaged_one_is_refused(
    count: int, height: int, width: int, data: st.DataObject
) -> None:
    content = data.draw(st.binary(min_size=3 * count * height * width, max_size=3 * count * height * width))
    inputs = np.frombuffer(content, np.uint8).reshape(count, height, width, 3)
    thresholds = np.array(data.draw(st.lists(st.floats(0, 1), min_size=count, max_size=count)))
    sent = encode_request(inputs, thresholds)
    back, its_thresholds = decode_request(sent, (height, width))
    np.testing.assert_array_equal(back, inputs)
    np.testing.assert_array_equal(its_thresholds, thresholds)
    each = len(sent) // count
    cut = data.draw(st.integers(0, len(sent) - 1).filter(lambda length: length % each != 0 or length == 0))
    with pytest.raises(ProtocolError, match="expected 1 to 1024 inputs"):
        decode_request(sent[:cut], (height, width))
    with pytest.raises(ProtocolError, match="expected thresholds"):
        decode_request(encode_request(inputs, thresholds + data.draw(st.floats(1.1, 9))), (height, width))


@given(answers())
def test_an_answer_comes_back_as_it_was_sent(answer: Classification) -> None:
    back = decode_answer(encode_answer(MODEL, answer), MODEL, len(answer.scores))
    np.testing.assert_array_equal(back.scores, answer.scores)
    assert (list(back.novelty), list(back.kinds)) == (list(answer.novelty), list(answer.kinds))
    assert all(map(is_same, back.evidence, answer.evidence))


@given(answers(), st.data())
def test_a_damaged_answer_is_refused_and_never_crashes(answer: Classification, data: st.DataObject) -> None:
    sent = encode_answer(MODEL, answer)
    cut = sent[: data.draw(st.integers(0, len(sent) - 1))]
    with pytest.raises(ProtocolError):
        decode_answer(cut, MODEL, len(answer.scores))
    with pytest.raises(ProtocolError):
        decode_answer(sent + b"\0\0\0\0", MODEL, len(answer.scores))
    changed = bytearray(sent)
    changed[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(ProtocolError):  # a change of a value alone cannot be seen: TCP's checksum is for that
        decode_answer(bytes(changed), MODEL, len(answer.scores))


@given(answers())
def test_the_answer_of_another_model_or_to_other_inputs_is_refused(answer: Classification) -> None:
    sent = encode_answer(MODEL, answer)
    with pytest.raises(ProtocolError, match="answered with the model aaaaaaaaaaaa"):
        decode_answer(sent, "b" * 64, len(answer.scores))
    with pytest.raises(ProtocolError, match="another number of inputs"):
        decode_answer(sent, MODEL, len(answer.scores) + 1)


@given(st.binary(max_size=64))
def test_bytes_of_something_else_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_answer(data, MODEL, 1)
