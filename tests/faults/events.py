"""Events to lose, if one could, and the count of what became of them."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from monitor.publish.parcel import Parcel
from tests.publish.conftest import BEGIN, make_event

_TEMPLATE = make_event()
_PICTURE = random.Random(1).randbytes(20_000)


def made_parcel(number: int, at: datetime | None = None, camera: str = "top") -> Parcel:
    """An event with a picture of 20 kB that no other event has."""
    at = at or BEGIN + timedelta(milliseconds=number)
    identity = f"{camera}-{at:%Y%m%dT%H%M%S%f}-{number}"
    image = _TEMPLATE.image.model_copy(update={"frame_key": f"defects:frame:{identity}"})
    event = _TEMPLATE.model_copy(
        update={"id": identity, "camera": camera, "frame_number": number, "captured_at": at, "image": image}
    )
    return Parcel.of(event, _PICTURE + identity.encode())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of events: each found one must have come once."""

    found: int
    once: int
    lost: int
    doubled: int
    pictures: int
    ordered: bool

    @property
    def flawless(self) -> bool:
        return (self.found, 0, 0, self.found, True) == (
            self.once,
            self.lost,
            self.doubled,
            self.pictures,
            self.ordered,
        )


def outcome(client: Any, found: Iterable[str], prefix: str = "defects") -> Outcome:
    """Compare what was found with what lies in Redis."""
    found = list(found)
    stored = [fields[b"id"].decode() for _, fields in client.xrange(f"{prefix}:events")]
    counts = Counter(stored)
    pictures = sum(
        client.get(f"{prefix}:frame:{identity}") == _PICTURE + identity.encode() for identity in found
    )
    wanted = set(found)
    return Outcome(
        found=len(found),
        once=sum(counts[identity] == 1 for identity in found),
        lost=sum(counts[identity] == 0 for identity in found),
        doubled=sum(count > 1 for count in counts.values()),
        pictures=pictures,
        ordered=[identity for identity in stored if identity in wanted] == found,
    )
