"""Streams opened and closed again and again, by several threads at once, leave nothing behind."""

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monitor.capture.sources.opening import open_source
from monitor.errors import SourceError
from tests.support.rtsp_server import LiveServer, why_absent

THREADS = 4
ResourceUsage = tuple[int, int, float]


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    if reason := why_absent():
        pytest.skip(reason)
    with LiveServer(1, width=128, height=96, fps=20, user="user", password="right") as server:
        yield server


def held() -> ResourceUsage:
    """File descriptors, threads and resident megabytes of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        len(list(Path("/proc/self/fd").iterdir())),
        len(list(Path("/proc/self/task").iterdir())),
        pages * 4096 / 1e6,
    )


def look(url: str) -> None:
    source = open_source(url, open_timeout=60, read_timeout=60)
    assert source.read() is not None
    source.close()


def fail(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(url, open_timeout=60, read_timeout=60)
    assert caught.value.cause in ("authentication", "not-found")


def in_threads(count: int, server: LiveServer) -> None:
    """`count` openings, every fifth one refused, shared among THREADS threads."""
    stream = server.address("0")
    wrong, missing = server.address("0", login="user:wrong"), server.address("none")
    faults: list[BaseException] = []

    def work(numbers: range) -> None:
        try:
            for number in numbers:
                match number % 10:
                    case 3:
                        fail(wrong)
                    case 8:
                        fail(missing)
                    case _:
                        look(stream)
        except BaseException as error:
            faults.append(error)

    threads = [
        threading.Thread(target=work, args=(range(start, count, THREADS),)) for start in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults


def test_openings_leave_no_file_no_thread_and_no_memory_behind(
    server: LiveServer, times: Callable[[int, int], int]
):
    in_threads(20, server)  # libraries keep what they need once
    before = held()
    in_threads(times(50, 1000), server)
    after = held()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 15, f"memory grew from {before[2]:.0f} to {after[2]:.0f} MB"
