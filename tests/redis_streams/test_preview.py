"""Live frames: only while somebody watches, at a bounded rate, and at nobody's cost."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.keys import RedisKeys
from monitor.redis_streams.preview import Preview, PreviewPublisher, _shrink
from tests.support.redis_servers import ServerProcess, wait_until

NOW = datetime(2026, 11, 30, 12, 0, 0, 250_000, tzinfo=UTC)
PICTURE = np.full((300, 400, 3), 90, np.uint8)


class Feed:
    """Cameras that offer a new frame every 5 ms."""

    def __init__(self, publisher: PreviewPublisher, *cameras: str) -> None:
        self.offered = 0
        self.longest = 0.0
        self._publisher, self._cameras = publisher, cameras
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.005):
            for camera in self._cameras:
                began = time.thread_time()  # of this thread: what others of the machine do does not count
                self._publisher.show(camera, self.offered, NOW, PICTURE)
                self.longest = max(self.longest, time.thread_time() - began)
            self.offered += 1

    def close(self) -> None:
        self._end.set()
        self._thread.join()


@pytest.fixture
def publish(valkey: str) -> Iterator[Callable[..., tuple[PreviewPublisher, Feed]]]:
    """Start a publisher with cameras that feed it."""
    started: list[tuple[PreviewPublisher, Feed]] = []

    def start(*cameras: str, url: str = valkey, **options: Any) -> tuple[PreviewPublisher, Feed]:
        publisher = PreviewPublisher(url, "defects", **options)
        publisher.start()
        started.append((publisher, Feed(publisher, *cameras)))
        return started[-1]

    yield start
    for publisher, feed in started:
        feed.close()
        publisher.close()
        publisher.thread.join(5)
        assert not publisher.thread.is_alive()
        assert publisher.thread.failure is None


def stored(client: Any, camera: str) -> Preview | None:
    return Preview.from_fields(client.hgetall(f"defects:preview:{camera}"))


def test_without_a_watcher_nothing_is_encoded_or_kept(publish: Any, client: Any) -> None:
    publisher, feed = publish("top")
    wait_until(lambda: feed.offered > 100)
    assert (publisher.encoded, publisher._mailbox, client.keys("*")) == (0, {}, [])


def test_a_watcher_gets_small_frames_with_their_numbers_at_a_bounded_rate(publish: Any, client: Any) -> None:
    publisher, feed = publish("top", "side", rate=20.0, max_side=200)
    client.set("defects:watching", "1", px=60_000)
    wait_until(lambda: stored(client, "top"))
    began, before = time.monotonic(), publisher.encoded
    wait_until(lambda: publisher.encoded > before + 20)
    rate = (publisher.encoded - before - 4) / (
        time.monotonic() - began
    )  # one of each camera was due, one in the mailbox
    assert rate <= 2 * 20.0
    shown = stored(client, "side")
    assert shown is not None
    assert (shown.width, shown.height, shown.captured_at) == (400, 300, NOW)
    assert 0 <= shown.frame_number <= feed.offered
    assert cv2.imdecode(np.frombuffer(shown.jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (150, 200, 3)
    assert 0 < client.pttl("defects:preview:top") <= 5000
    client.delete("defects:watching")
    wait_until(lambda: not publisher._watched)
    encoded, offered = publisher.encoded, feed.offered
    wait_until(lambda: feed.offered > offered + 50)
    assert publisher.encoded <= encoded + 1  # the one that was being encoded
    wait_until(lambda: client.keys("*") == [], 10)


def test_frames_are_shown_again_after_the_server_was_away(publish: Any, make_server: Any) -> None:
    server: ServerProcess = make_server()
    publisher, feed = publish("top", url=server.url, rate=20.0, timeout=0.3)

    def watched() -> bool:
        with server.client() as client:
            client.set("defects:watching", "1", px=4000)
            return stored(client, "top") is not None

    wait_until(watched)
    server.signal(signal.SIGSTOP)  # hangs
    wait_until(lambda: not publisher._watched)
    offered, feed.longest = feed.offered, 0.0
    wait_until(lambda: feed.offered > offered + 50)
    assert feed.longest < 0.05, "offering a frame waited for the server"
    assert publisher._mailbox == {}
    server.signal(signal.SIGCONT)
    wait_until(watched)
    server.stop()
    wait_until(lambda: not publisher._watched)
    server.start()
    wait_until(watched)


def test_a_rate_of_zero_publishes_nothing(valkey: str, client: Any) -> None:
    client.set("defects:watching", "1", px=4000)
    publisher = PreviewPublisher(valkey, "defects", rate=0)
    publisher.start()
    publisher.show("top", 1, NOW, PICTURE)
    assert not publisher.thread.has_started
    assert publisher._mailbox == {}


def test_a_frame_that_no_jpeg_can_hold_is_left_out(publish: Any, client: Any) -> None:
    publisher, _ = publish("top", rate=20.0, max_side=100_000)
    client.set("defects:watching", "1", px=60_000)
    wait_until(lambda: stored(client, "top"))
    publisher._next_due.clear()
    publisher.show("long", 1, NOW, np.zeros((1, 70_000, 3), np.uint8))
    encoded = publisher.encoded
    wait_until(lambda: publisher.encoded > encoded + 5)
    assert stored(client, "long") is None


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)


@given(name=NAMES, other=NAMES)
def test_hostile_names_stay_apart_and_below_the_prefix(name: str, other: str) -> None:
    keys = RedisKeys()
    assert keys.preview(name).startswith("defects:preview:")
    assert (keys.preview(name) == keys.preview(other)) == (name == other)
    assert keys.preview(name) not in (keys.watching, keys.events, keys.live(name))


def test_previews_of_hostile_names_are_stored_each_under_its_own(publish: Any, client: Any) -> None:
    names = ["a b", "*", "<script>alert(1)</script>", "x:preview:y", "\r\nFLUSHALL\r\n", "ä" * 64]
    publish(*names, rate=20.0)
    client.set("defects:watching", "1", px=60_000)
    wait_until(lambda: all(stored(client, name) for name in names))
    assert {key.decode() for key in client.keys("defects:preview:*")} == {
        f"defects:preview:{name}" for name in names
    }


@given(height=st.integers(1, 300), width=st.integers(1, 300), max_side=st.integers(1, 400))
def test_shrinking_keeps_the_shape_and_never_enlarges(height: int, width: int, max_side: int) -> None:
    image = _shrink(np.zeros((height, width, 3), np.uint8), max_side)
    assert max(image.shape[:2]) == min(max_side, max(height, width))
    for was, now in ((height, image.shape[0]), (width, image.shape[1])):
        assert abs(now - was * min(1, max_side / max(height, width))) < 1


def test_a_hash_that_is_no_preview_is_refused() -> None:
    assert Preview.from_fields({}) is None
    with pytest.raises(ValueError, match="frame_number"):
        Preview.from_fields({b"jpeg": b""})


def test_missing_rights_are_logged_once(publish: Any, client: Any, caplog: pytest.LogCaptureFixture) -> None:
    client.execute_command("ACL", "SETUSER", "weak", "on", ">x", "~defects:events", "+@all")
    publisher, _ = publish("top", access=RedisCredentials("weak", "x"))
    wait_until(lambda: "not published" in caplog.text)
    asked = publisher.last_heartbeat
    wait_until(lambda: publisher.last_heartbeat > asked)
    client.execute_command("ACL", "DELUSER", "weak")
    assert caplog.text.count("previews are not published") == 1
