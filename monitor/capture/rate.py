"""Whether a camera keeps the rate that is expected of it. Pure: the times come in."""

from typing import Literal

TOLERANCE = 0.3
"""Share by which a rate may differ from the expected one before it is said."""


class RateWatch:
    """Counts pictures over windows of at least 5 s and 10 expected pictures."""

    def __init__(self, expected: float) -> None:
        self._expected = expected
        self._window = max(5.0, 10 / expected)
        self._since: float | None = None
        self._count = 0

    def restart(self) -> None:
        """The camera was away: the next picture begins a new window."""
        self._since = None

    def see(self, monotonic: float) -> tuple[Literal["slow", "fast"] | None, float] | None:
        """A picture came; at the end of a window: `slow`, `fast` or None for as expected, and the rate."""
        if self._since is None:
            self._since, self._count = monotonic, 0
            return None
        self._count += 1
        lasted = monotonic - self._since
        if lasted < self._window:
            return None
        rate = self._count / lasted
        self._since, self._count = monotonic, 0
        if rate < self._expected * (1 - TOLERANCE):
            return "slow", rate
        if rate > self._expected * (1 + TOLERANCE):
            return "fast", rate
        return None, rate
