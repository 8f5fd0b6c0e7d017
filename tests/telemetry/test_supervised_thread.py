"""A thread that fails is never silent."""

import logging
import time

import pytest

from monitor.telemetry.supervised_thread import SupervisedThread


class FailingLoop:
    """A loop that fails the first `failures` times."""

    def __init__(self, failures: int) -> None:
        self.last_heartbeat = time.monotonic()
        self.runs = 0
        self._failures = failures

    def run(self) -> None:
        self.runs += 1
        if self.runs <= self._failures:
            raise RuntimeError("broken")


def test_a_failure_is_logged_and_counted_and_ends_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    loop = FailingLoop(1)
    thread = SupervisedThread("judge", loop)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(thread.failure, RuntimeError)
    assert loop.runs == 1
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


def test_a_loop_that_is_restarted_goes_on_and_shows_its_failure_for_a_minute() -> None:
    loop = FailingLoop(2)
    thread = SupervisedThread("claims", loop, restart_after=0.01)
    thread.start()
    thread.join(5)
    assert loop.runs == 3
    assert thread.failure is not None


def test_a_loop_that_ends_as_it_should_has_no_failure() -> None:
    thread = SupervisedThread("judge", FailingLoop(0))
    assert not thread.has_started
    thread.start()
    thread.join(5)
    assert thread.failure is None
