"""The memory of Redis beside 8 cameras at 30 frames/s with 1 % defects, by time-lapse.

A week of that line is 1.45 million events. All bounds are counts and bytes, so memory is flat from the event
on at which the last bound is reached, near the 10,000th. This goes four times as far, with the restarts of a
week. Prints the figures that the top README quotes. `make soak` runs it.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.storage import OutboxEntry, Position
from monitor.events.event import Event
from monitor.events.incidents import IncidentReport
from monitor.events.messages import EventMessage, NoticeMessage, OutboxMessage
from monitor.records import Gap
from tests.support.events import make_event
from tests.support.redis_servers import make_server, program

__all__ = ["make_server", "program"]
pytestmark = pytest.mark.soak

CAMERAS, RATE = 8, 8 * 30 * 0.01  # flagged frames a second
EVENTS, RUNS, BATCH = 40_000, 14, 24
"""Events until the end, runs of the daemon (two a day), messages in a delivery."""

IMAGE_BYTES = 128_000


def events() -> Iterator[Event]:
    """Events as a line finds them: documents of 1.1 kB."""
    template = make_event()
    contour = tuple((400 + number, 90 + number % 40) for number in range(36))
    region = template.regions[0].model_copy(update={"contour": contour})
    began = datetime(2026, 11, 23, tzinfo=UTC)
    for number in range(EVENTS):
        at = began + timedelta(seconds=number / RATE)
        camera = f"camera-{number % CAMERAS}"
        yield template.model_copy(
            update={
                "id": f"{camera}-{at:%Y%m%dT%H%M%S%f}Z-{number}",
                "camera": camera,
                "frame_number": number,
                "captured_at": at,
                "regions": (region,),
                "daemon": "line1-0a1b2c3d",
            }
        )


def messages(event: Event, image: bytes) -> list[OutboxMessage]:
    """An event with its image, the start and the end of its incident, and a gap."""
    at = event.captured_at
    incident = IncidentReport(
        id=event.id,
        phase="start",
        camera=event.camera,
        events=1,
        first_event=event.id,
        last_event=event.id,
        first_at=at,
        last_at=at,
        peak_score=0.99,
    )
    phases = [incident.notice(), incident.model_copy(update={"phase": "end"}).notice()]
    gap = Gap(event.camera, event.frame_number, event.frame_number, at, at, 1, "overload")
    return [EventMessage.of(event, event.id.encode().ljust(64) + image), *phases, NoticeMessage.of(gap)]


def test_memory_is_flat_once_the_bounds_are_reached(make_server: Callable[..., Any], tmp_path: Path) -> None:
    server = make_server()
    image = random.Random(1).randbytes(IMAGE_BYTES)
    used: dict[int, int] = {}
    with server.client() as client, closing(RedisSink(server.url, daemon="line1-0a1b2c3d")) as sink:
        size = 0
        queue: list[OutboxMessage] = []
        for number, event in enumerate(events(), start=1):
            queue += messages(event, image)
            size += len(event.to_json())
            while len(queue) >= BATCH or (queue and number == EVENTS):
                run, first = f"run-{number * RUNS // (EVENTS + 1)}", number * 100
                batch = [OutboxEntry(Position(run, first + i), it) for i, it in enumerate(queue[:BATCH])]
                del queue[: sink.deliver(batch).delivered]
            if number % 2_000 == 0:
                used[number] = int(client.info("memory")["used_memory"])
        name = server.name()
        keys = {key: client.memory_usage(f"defects:{key}") for key in ("events", "incidents", "coverage")}
        entries = {key: client.xlen(f"defects:{key}") for key in keys}
        images = client.zcard("defects:pictures")
    print(
        f"\n{name}: {size / EVENTS:.0f} B an event document, {IMAGE_BYTES} B an image, {images} images left"
    )
    print("stream: " + ", ".join(f"{key} {entries[key]} entries {keys[key] / 1e6:.1f} MB" for key in keys))
    for number, value in used.items():
        print(f"{number:>7} events ({number / RATE / 3600:.1f} h): {value / 1e6:.1f} MB")
    full = [value for number, value in used.items() if number >= 12_000]
    print(f"from 12,000 events on: {min(full) / 1e6:.1f} to {max(full) / 1e6:.1f} MB")
    assert max(full) < 1.03 * min(full)
    half = len(full) // 2
    assert sum(full[half:]) / len(full[half:]) < 1.01 * sum(full[:half]) / half  # no slope
