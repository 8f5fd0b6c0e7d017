"""The live server of the tests says in each picture which one it is, and does what it is told."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from monitor.capture.sources.base import Source
from monitor.capture.sources.opening import open_source
from monitor.errors import SourceError
from monitor.records import Image
from tests.support.rtsp_server import LiveServer, number_in


@pytest.fixture
def server(needs_rtsp: None) -> Iterator[LiveServer]:
    with LiveServer(2, fps=20, user="user", password="first") as server:
        yield server


def look(server: LiveServer, path: str) -> Source:
    return open_source(server.address(path), open_timeout=5, read_timeout=5)


def numbers(source: Source, count: int) -> list[tuple[int, int] | None]:
    return [number_in(read(source)) for _ in range(count)]


def read(source: Source) -> Image:
    image = source.read()
    assert image is not None
    return image


def test_pictures_are_numbered_without_a_hole_and_by_their_time(server: LiveServer) -> None:
    began = time.monotonic() * server.fps
    for path in "01":
        source = look(server, path)
        seen = numbers(source, 30)
        ended = time.monotonic() * server.fps
        source.close()
        first = seen[0]
        assert first is not None
        assert seen == [(int(path), first[1] + index) for index in range(30)]
        assert began - 1 <= first[1] <= seen[-1][1] <= ended


def test_it_shows_what_it_is_told(server: LiveServer) -> None:
    source = look(server, "0")
    numbers(source, 5)
    server.show("frozen")
    seen = numbers(source, 20)
    assert len(set(seen[-5:])) == 1
    server.show("black")
    assert [read(source).mean() for _ in range(20)][-1] < 5
    server.show("moving")
    assert len(set(numbers(source, 20)[-5:])) == 5
    assert server.filmed() >= 65
    assert server.filmed(1) == 0
    source.close()


def test_it_comes_back_on_its_port_with_another_size_and_password(server: LiveServer) -> None:
    port = server.port
    server.stop()
    server.change(width=640, height=360)
    server.start()
    assert server.port == port
    source = look(server, "1")
    assert read(source).shape == (360, 640, 3)
    source.close()
    server.require("second")
    with pytest.raises(SourceError) as caught:
        look(server, "1")
    assert caught.value.cause == "authentication"
    server.require("first")
    look(server, "1").close()


def test_a_damaged_mark_is_no_number() -> None:
    assert number_in(np.full((240, 320, 3), 128, np.uint8)) is None
