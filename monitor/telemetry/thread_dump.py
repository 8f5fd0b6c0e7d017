"""Logs the stack of each thread and the length of each queue when a signal asks for it.

A dedicated thread receives the signal, so that the dump works even while the main thread is stuck.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from types import FrameType

logger = logging.getLogger(__name__)


QueueDepths = Callable[[], Mapping[str, int]]
"""Returns the length of each queue, such as `{"camera left": 3, "outbox": 0}`."""


def format_threads(threads: Mapping[str, FrameType], depths: Mapping[str, int]) -> Iterator[str]:
    """Yield one line per thread, its calls from outermost to innermost, and one line for all queues."""
    for name, frame in threads.items():
        yield f"thread {name}: {' > '.join(reversed(list(_calls(frame))))}"
    yield f"waiting: {', '.join(f'{name} {count}' for name, count in depths.items()) or 'nothing yet'}"


def block_signal(number: signal.Signals = signal.SIGUSR1) -> None:
    """Keep the signal `number` pending until `dump_on_signal`.

    Call this in the main thread before others start: they inherit the block, as do child processes, which a
    signal to all processes of a service would otherwise end.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def dump_on_signal(depths: QueueDepths, number: signal.Signals = signal.SIGUSR1) -> None:
    """Log every thread's stack, and `depths`, at each signal `number` from now on; see `block_signal`."""
    block_signal(number)
    threading.Thread(target=_dump_at_each, args=(depths, number), name="stacks", daemon=True).start()


def _dump_at_each(depths: QueueDepths, number: signal.Signals) -> None:
    while True:
        signal.sigwait({number})
        try:
            # Stacks first: `depths` may block on a lock, which the stacks then show.
            *stacks, _ = format_threads(_threads(), {})
            for line in stacks:
                logger.warning(line)
            *_, waiting = format_threads({}, depths())
            logger.warning(waiting)
        except Exception:
            logger.exception("thread dump failed")


def _threads() -> dict[str, FrameType]:
    """Return the threads that run Python, by name; a number is added to equal names."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found: dict[str, FrameType] = {}
    for number, frame in sys._current_frames().items():
        name = names.get(number, "unnamed")
        found[f"{name} {number}" if name in found else name] = frame
    return found


def _calls(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        location = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
        yield f"{location}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
