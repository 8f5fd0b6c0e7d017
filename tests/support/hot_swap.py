"""Reloads of a running daemon, and the frames that it accounts for meanwhile."""

import json
import signal

import redis

from tests.support.daemon_process import DaemonUnderTest, wait_for

PLAIN = "[explain]\nenabled = false\n[verdicts]\npublish = true\n"
"""Settings under which each frame is in the stream of verdicts, and nothing is explained."""


def reload(daemon: DaemonUnderTest, text: str, seconds: float = 120) -> None:
    """Have the settings read again; wait until the log has another line with `text`."""
    before = daemon.log.read_text().count(text)
    daemon.process.send_signal(signal.SIGHUP)
    wait_for(lambda: daemon.log.read_text().count(text) > before, seconds, daemon)


def accounted(url: str) -> list[int]:
    """The number of each frame in the stream of verdicts, as often as it is there."""
    with redis.Redis.from_url(url, protocol=2) as client:
        batches = [json.loads(fields[b"verdicts"]) for _, fields in client.xrange("defects:verdicts")]
    return [
        number
        for batch in batches
        for it in batch["verdicts"]
        for number in range(it["frame_number"], it.get("last_number", it["frame_number"]) + 1)
    ]
