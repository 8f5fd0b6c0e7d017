"""What every thread is doing right now, and what waits where: for the log, when somebody asks by a signal.

The signal is taken by a thread of its own, so it is answered also while the main thread is stuck.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from types import FrameType

log = logging.getLogger(__name__)


QueueDepths = Callable[[], Mapping[str, int]]
"""What waits where, such as `{"camera left": 3, "outbox": 0}`. Called in a thread of its own."""


def format_threads(threads: Mapping[str, FrameType], depths: Mapping[str, int]) -> Iterator[str]:
    """A line for each thread, its calls from the outermost to the innermost, and one for all that waits."""
    for name, frame in threads.items():
        yield f"thread {name}: {' > '.join(reversed(list(_calls(frame))))}"
    yield f"waiting: {', '.join(f'{name} {count}' for name, count in depths.items()) or 'nothing yet'}"


def dump_on_signal(depths: QueueDepths, number: signal.Signals = signal.SIGUSR1) -> None:
    """From now on write every thread's stack, and `depths`, to the log whenever the signal `number` comes.

    Must be called by the main thread before there are others: they are born with the signal blocked, as are
    child processes, which a signal to all processes of a service would end otherwise.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    threading.Thread(target=_wait, args=(depths, number), name="stacks", daemon=True).start()


def _wait(depths: QueueDepths, number: signal.Signals) -> None:
    while True:
        signal.sigwait({number})
        try:
            # The stacks first: what counts the depths may hang at a lock, which is then to be seen.
            *stacks, _ = format_threads(_threads(), {})
            for line in stacks:
                log.warning(line)
            *_, waiting = format_threads({}, depths())
            log.warning(waiting)
        except Exception:
            log.exception("the stacks cannot be told")


def _threads() -> dict[str, FrameType]:
    """The threads that run Python, by their names; a number is added to tell namesakes apart."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found: dict[str, FrameType] = {}
    for number, frame in sys._current_frames().items():
        name = names.get(number, "unnamed")
        found[f"{name} {number}" if name in found else name] = frame
    return found


def _calls(frame: FrameType | None) -> Iterator[str]:
    while frame is not None:
        place = "/".join(PurePath(frame.f_code.co_filename).parts[-2:])
        yield f"{place}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
