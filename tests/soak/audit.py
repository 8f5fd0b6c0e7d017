"""The books of a running daemon held against what Redis has, exactly, at a moment."""

import time
from collections import Counter
from dataclasses import dataclass, field

from tests.soak.accounts import OUTCOMES, frames_in, held, is_exact, outcomes
from tests.soak.plant import LineUnderTest
from tests.support.daemon_process import events_of

_HELD = 2.2
"""Seconds that cameras can be held still without being silent for too long."""
_DELIVERED_WITHIN = 30.0


@dataclass
class FrameCounts:
    """The latest exact counts of each camera, gone ones included, and how often they were taken."""

    looks: int = 0
    counted: dict[str, dict[str, int]] = field(default_factory=dict)
    came: dict[str, int] = field(default_factory=dict)

    def total(self, outcome: str) -> int:
        """Over all cameras."""
        return sum(counted[outcome] for counted in self.counted.values())


def look(plant: LineUnderTest, books: FrameCounts) -> list[str]:
    """Take the counts of all cameras while they are held still; what does not add up, a sentence each.

    Frames are numbered, so that what came by then can be told in Redis from what comes later.
    """
    page = _exact_page(plant)
    if page is None:
        return [f"the outcomes do not add up to the frames that came: {_sums(plant)}"]
    books.looks += 1
    for camera in plant.cameras:
        books.counted[camera], books.came[camera] = outcomes(page, camera), frames_in(page, camera)
    wrong: list[str] = []
    deadline = time.monotonic() + _DELIVERED_WITHIN
    while (wrong := _differences(plant, books)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return wrong


def _exact_page(plant: LineUnderTest) -> str | None:
    for _ in range(8):
        with held(plant.daemon):
            ends = time.monotonic() + _HELD
            while time.monotonic() < ends:
                page = plant.page()
                if all(is_exact(page, camera) for camera in plant.cameras):
                    return page
                time.sleep(0.1)
        time.sleep(3)
    return None


def _sums(plant: LineUnderTest) -> str:
    page = plant.page()
    return ", ".join(
        f"{camera}: {frames_in(page, camera)} came, {outcomes(page, camera)}" for camera in plant.cameras
    )


def _differences(plant: LineUnderTest, books: FrameCounts) -> list[str]:
    wrong = []
    events = events_of(plant.redis.url)
    for camera in plant.cameras:
        came, counted = books.came[camera], books.counted[camera]
        found = Counter(
            event["frame_number"]
            for event in events
            if event["camera"] == camera and event["frame_number"] < came
        )
        if (len(found), found.total()) != (counted["defect"], counted["defect"]):
            wrong.append(
                f"{camera}: {counted['defect']} frames counted as defects, "
                f"{found.total()} events of {len(found)} of its frames in Redis"
            )
        told = sum(gap.frames for gap in plant.gaps(camera) if gap.last is not None and gap.last < came)
        if told != counted["dropped"] + counted["unusable"]:
            wrong.append(f"{camera}: {told} frames told on coverage, counted were {counted}")
    return wrong


def totals(books: FrameCounts) -> dict[str, int]:
    """Frames of all cameras by what became of them."""
    return {"came": sum(books.came.values()), **{one: books.total(one) for one in OUTCOMES}}
