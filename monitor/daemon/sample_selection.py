"""Which frames are kept for learning: a pure choice within a rate and a budget."""

import random
from collections import Counter, deque
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.events.samples import SampleReason
from monitor.records import Image

_SIDE = 64

_MAX_DIFFERENCE = 6.0
"""Largest difference of the grey values, 0..255, of two images reduced to 64 x 64 that show nearly the same.

The noise of a camera averages out in a cell. The largest difference counts, not the mean one: a small defect
on a part that lies as the one before changes few cells.
"""

_REMEMBERED = 32
"""Samples of a camera with which a new one is compared."""


@dataclass(frozen=True, slots=True)
class SamplingRules:
    """Which clean frames are kept, and how many.

    - `band`: keep frames whose score is at most this far below the threshold
    - `unfamiliar`: keep frames beyond the model's limit of familiarity
    - `random_fraction`: keep this fraction of all other clean frames
    - `interval`: at least so many seconds between two of a camera
    - `per_day`: at most so many of each camera and reason in a day (UTC); flagged frames, and those on which
      the shadow model differs, have this limit only
    """

    band: float = 0.2
    unfamiliar: bool = True
    random_fraction: float = 0.001
    interval: float = 10.0
    per_day: int = 200


Thumbnail = NDArray[np.float32]
"""An image reduced to (64, 64) grey values, 0..255."""


def make_thumbnail(image: Image) -> Thumbnail:
    """Return what is compared of `image` (h, w, 3) uint8."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


Group = Literal["flagged", "clean", "shadow"]
"""Samples that are compared with each other, and of which one at a time is stored."""


def group_of(reason: SampleReason) -> Group:
    """Return the group of samples with this reason."""
    if reason == "shadow-differs":
        return "shadow"
    return "flagged" if reason == "flagged" else "clean"


class Choice(NamedTuple):
    """Why a frame is worth keeping, and what forbids it; `skipped` None: it is kept."""

    reason: SampleReason
    skipped: Literal["interval", "budget"] | None


class SampleSelector:
    """Chooses the samples of one camera. Several threads may choose; one thread stores and counts."""

    def __init__(self, rules: SamplingRules, rng: random.Random | None = None) -> None:
        self._rules = rules
        self._rng = rng or random.Random()  # noqa: S311 (no secret)
        self._next_at = float("-inf")
        self._day: date | None = None
        self._kept: Counter[SampleReason] = Counter()
        self._thumbnails: dict[Group, deque[Thumbnail]] = {
            group: deque(maxlen=_REMEMBERED) for group in get_args(Group)
        }

    def choose(
        self, score: float, threshold: float, is_unfamiliar: bool, now: float, day: date
    ) -> Choice | None:
        """Choose whether to keep a clean frame; None: it is like most others. `now`: monotonic seconds."""
        reason: SampleReason
        if is_unfamiliar and self._rules.unfamiliar:
            reason = "unfamiliar"
        elif self._rules.band and score >= threshold - self._rules.band:
            reason = "near-threshold"
        elif self._rng.random() < self._rules.random_fraction:
            reason = "random"
        else:
            return None
        if now < self._next_at:
            return Choice(reason, "interval")
        if not self.has_budget(reason, day):
            return Choice(reason, "budget")
        self._next_at = now + self._rules.interval
        return Choice(reason, None)

    def choose_by_budget(self, reason: Literal["flagged", "shadow-differs"], day: date) -> Choice:
        """Choose whether to keep a frame that the day's limit alone forbids."""
        return Choice(reason, None if self.has_budget(reason, day) else "budget")

    def has_budget(self, reason: SampleReason, day: date) -> bool:
        """Return whether the day's limit allows another sample."""
        if day != self._day:
            self._day = day
            self._kept.clear()
        return self._kept[reason] < self._rules.per_day

    def is_duplicate(self, thumbnail: Thumbnail, group: Group) -> bool:
        """Return whether a frame shows nearly the same as a sample of its group before it."""
        return any(
            np.abs(thumbnail - earlier).max() <= _MAX_DIFFERENCE for earlier in self._thumbnails[group]
        )

    def count(self, reason: SampleReason, thumbnail: Thumbnail) -> None:
        """Count a sample that was stored, and remember what it shows."""
        self._kept[reason] += 1
        self._thumbnails[group_of(reason)].append(thumbnail)
