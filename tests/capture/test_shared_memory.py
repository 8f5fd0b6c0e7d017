"""Memory shared by two processes: no slot is written while anything still reads it, and none is lost."""

import gc
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.capture.shared_memory import SharedBufferReader, SharedBufferWriter

SIZE = 4096


def joined(slots: int) -> tuple[SharedBufferWriter, SharedBufferReader]:
    writer = SharedBufferWriter(slots, SIZE)
    reader = SharedBufferReader(os.dup(writer.fd), slots, SIZE, writer.release)
    writer.close()
    return writer, reader


def test_what_was_written_is_read_without_a_copy_and_cannot_be_changed_by_the_reader():
    writer, reader = joined(2)
    slot, memory = writer.acquire()
    memory[:] = np.arange(SIZE, dtype=np.uint8)
    seen = reader.view(slot)
    np.testing.assert_array_equal(seen, memory)
    memory[0] = 99
    assert seen[0] == 99
    with pytest.raises(ValueError, match="read-only"):
        seen[0] = 1


def test_a_slot_is_given_back_when_the_last_view_of_a_view_is_gone():
    writer, reader = joined(1)
    slot, _ = writer.acquire()
    seen = reader.view(slot)
    deep = seen[:3000].reshape(10, 100, 3)[2:5, :, ::-1]
    del seen
    gc.collect()
    assert (writer.free, reader.slots_in_use) == (0, 1)
    del deep
    assert (writer.free, reader.slots_in_use) == (1, 0)


def test_the_memory_outlives_both_rings_as_long_as_it_is_looked_at():
    writer, reader = joined(1)
    slot, memory = writer.acquire()
    memory[:] = 7
    seen = reader.view(slot)
    del writer, memory, reader
    gc.collect()
    assert seen.min() == seen.max() == 7


def test_closing_leaves_no_descriptor():
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        joined(3)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


@given(st.lists(st.sampled_from(["write", "drop oldest", "drop newest"]), max_size=60), st.integers(1, 5))
def test_no_slot_is_written_while_it_is_read(steps: list[str], slots: int):
    writer, reader = joined(slots)
    held = []
    for number, step in enumerate(steps):
        if step == "write" and writer.free:
            slot, memory = writer.acquire()
            memory[:] = number
            held.append((number, reader.view(slot)[10:20]))
        elif step != "write" and held:
            held.pop(0 if step == "drop oldest" else -1)
        assert writer.free + len(held) == slots
        assert reader.slots_in_use == len(held)
        assert all((view == written % 256).all() for written, view in held)
