"""Frames from a capture process to the daemon without a copy: slots of memory that both map.

The memory is a memfd: it has no name and nothing is left of it when the last process that holds it is gone,
however that process ended. A slot belongs to one side at a time. The writer fills a free slot and sends
a message; from then on it is the reader's, who releases it when the last array over it is gone.
"""

import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


# From <linux/fcntl.h>; Python 3.11's fcntl has no names for them.
_ADD_SEALS, _SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW = 1033, 1, 2, 4


class SharedBufferWriter:
    """The capture process's side: `slots` pieces of `size` bytes each. Raises OSError where memory lacks."""

    def __init__(self, slots: int, size: int) -> None:
        self.slots = slots
        self.size = size
        self.fd = os.memfd_create("frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, slots * size)
        # A file that shrank under the reader would kill it with SIGBUS.
        fcntl.fcntl(self.fd, _ADD_SEALS, _SEAL_SHRINK | _SEAL_GROW | _SEAL_SEAL)
        self._memory = np.frombuffer(mmap.mmap(self.fd, slots * size), np.uint8)
        self._free = list(range(slots))

    @property
    def free(self) -> int:
        """How many slots can be taken."""
        return len(self._free)

    def acquire(self) -> tuple[int, Bytes]:
        """A free slot: its number and its (size,) bytes. It is the reader's after the message about it."""
        slot = self._free.pop()
        return slot, self._memory[slot * self.size : (slot + 1) * self.size]

    def release(self, slot: int) -> None:
        """The reader is done with `slot`."""
        self._free.append(slot)

    def close(self) -> None:
        """Close the descriptor; the memory stays as long as a process maps it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class SharedBufferReader:
    """The daemon's side of the memory behind `descriptor`, which is closed by this.

    `released` is called with a slot's number, from whichever thread dropped the last array over it;
    `inspected` with the number of a receipt, when that is dropped. `announce_taken`, which is `taken`, is for
    the slot of a frame that is no longer queued.
    """

    def __init__(
        self,
        descriptor: int,
        slots: int,
        size: int,
        released: Callable[[int], None],
        *,
        inspected: Callable[[int], None] = lambda _: None,
        taken: Callable[[int], None] = lambda _: None,
    ) -> None:
        try:
            memory = mmap.mmap(descriptor, slots * size, prot=mmap.PROT_READ)
        finally:
            os.close(descriptor)
        self.slots = slots
        self.size = size
        self._memory = np.frombuffer(memory, np.uint8)
        self._released = released
        self._inspected = inspected
        self.announce_taken = taken
        self._lent: set[int] = set()  # adding to and discarding from a set is atomic

    @property
    def slots_in_use(self) -> int:
        """Slots over which arrays are still alive."""
        return len(self._lent)

    def view(self, slot: int) -> Bytes:
        """The (size,) bytes of `slot`, read-only; the slot is given back when no view of them is left."""
        self._lent.add(slot)
        return np.asarray(_Slot(self, slot, self._memory.ctypes.data + slot * self.size))

    def receipt(self, number: int | None) -> "FrameReceipt | None":
        """Return what a frame holds until it is done, for a frame with the receipt `number`."""
        return None if number is None else FrameReceipt(number, self._inspected)

    def _give_back(self, slot: int) -> None:
        self._lent.discard(slot)
        self._released(slot)


class FrameReceipt:
    """Calls `inspected` with its number when no copy of its frame holds it any more."""

    def __init__(self, number: int, inspected: Callable[[int], None]) -> None:
        self._number = number
        self._inspected = inspected

    def __del__(self) -> None:
        self._inspected(self._number)


class _Slot:
    """Owns the right to read one slot. Every array made from it, and every view of those, keeps it alive."""

    def __init__(self, ring: SharedBufferReader, number: int, address: int) -> None:
        self._ring = ring
        self._number = number
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": "|u1",
            "shape": (ring.size,),
            "data": (address, True),
        }

    def __del__(self) -> None:
        self._ring._give_back(self._number)
