"""The feed of the page: what no server can be made to cause."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
import redis

from monitor.redis_streams.history import HistoryEntry, StreamHistory
from monitor.web.feed import Feed
from tests.support.redis_servers import wait_until


class FailingHistory(StreamHistory):
    """Fails once, in a way that nothing foresees: a stand-in for a programming error."""

    failures = 1

    def read_new(self, after: Mapping[str, str], *, wait: float, count: int) -> dict[str, list[HistoryEntry]]:
        if self.failures:
            self.failures -= 1
            raise ArithmeticError("that was not foreseen")
        return super().read_new(after, wait=wait, count=count)


def test_a_failure_of_the_page_itself_is_logged_and_shown_and_reading_goes_on(
    valkey: str, caplog: pytest.LogCaptureFixture
) -> None:
    history = FailingHistory(valkey)
    feed = Feed(history, "127.0.0.1:1", ["left"], watchers=lambda: 0)
    feed.start()
    try:
        wait_until(lambda: shown(feed))
        assert "ArithmeticError: that was not foreseen" in shown(feed)
        assert "thread of the page failed" in caplog.text
        with redis.Redis.from_url(valkey) as client:
            client.xadd(
                "defects:coverage",
                {"camera": "left", "kind": "gap", "frames": "3", "cause": "overload", **moment()},
            )
        wait_until(lambda: frames_lost(feed) == 3)
    finally:
        feed.stop()


def moment() -> dict[str, str]:
    now = datetime.now(UTC).isoformat()
    return {"from": now, "to": now}


def shown(feed: Feed) -> str:
    with feed.state() as state:
        return state.page_problem or ""


def frames_lost(feed: Feed) -> int:
    with feed.state() as state:
        return sum(loss.frames for loss in state.camera("left").last_hour(datetime.now(UTC)).totals.values())
