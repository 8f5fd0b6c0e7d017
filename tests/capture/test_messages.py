"""What capture process and daemon say to each other arrives as it was said, or is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.messages import (
    MAX_MESSAGE_BYTES,
    BufferMapped,
    FrameInspected,
    FrameLost,
    FrameReady,
    SlotReleased,
    SourceEnded,
    SourceFailed,
    SourceIdle,
    SourceOpened,
    WorkerMessage,
    decode,
    encode,
)

NUMBER = st.integers(0, 2**40)
SECONDS = st.floats(0, 1e9)
MESSAGES = st.one_of(
    st.builds(SourceOpened, st.booleans(), st.none() | SECONDS),
    st.builds(SourceIdle),
    st.builds(FrameInspected, st.integers(0)),
    st.builds(SourceFailed, st.text(max_size=20), st.text(max_size=500)),
    st.builds(BufferMapped, NUMBER, NUMBER, NUMBER),
    st.builds(
        FrameReady,
        *(NUMBER, NUMBER, NUMBER),
        st.lists(st.lists(NUMBER, min_size=4, max_size=4), max_size=256),
        *(NUMBER, st.lists(NUMBER, min_size=2, max_size=2), NUMBER, SECONDS, SECONDS),
    ),
    st.builds(
        FrameLost,
        st.sampled_from(["unreadable", "unusable", "frozen", "overload"]),
        st.none() | st.text(max_size=300),
        *(NUMBER, SECONDS, SECONDS, st.none() | NUMBER),
    ),
    st.just(SourceEnded()),
    st.builds(SlotReleased, NUMBER, NUMBER),
)


@given(MESSAGES)
def test_a_message_arrives_as_it_was_said_and_fits_a_packet(message: WorkerMessage):
    packet = encode(message)
    assert len(packet) <= MAX_MESSAGE_BYTES
    assert decode(packet) == message


def test_a_detail_of_any_length_fits_a_packet():
    told = decode(encode(SourceFailed("codec", "\N{SNOWMAN}" * 100_000)))
    assert isinstance(told, SourceFailed)
    assert set(told.detail) == {"\N{SNOWMAN}"}


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b'["Free", {}]', b'["System", {"x": 1}]', b"3"]))
def test_anything_else_is_refused(packet: bytes):
    with pytest.raises(ValueError, match="no message of a capture process"):
        decode(packet)
