"""How much time explanations may take: a fraction of it, and none that would make an event late."""


class TimeBudget:
    """Limits the time of all explanations to `fraction` (0..1) of the time, measured over a window.

    Each second adds `fraction` seconds to an account, which holds at most `fraction` times `window`: that is
    what a burst of defects may use at once; when it is used up, explanations get `fraction` of the time. A
    step is begun while the account is above zero, so over any time t no more than fraction (window + t) is
    used, and one step. A fraction of 1 sets no limit. No frame is explained later than `deadline` seconds
    after its capture. All times are seconds of one clock, handed in.
    """

    def __init__(self, fraction: float, deadline: float, *, now: float, window: float = 10.0) -> None:
        self._fraction = fraction
        self._deadline = deadline
        self._max_seconds = fraction * window
        self._seconds = self._max_seconds
        self._updated_at = now

    def available(self, now: float) -> float:
        """Return the seconds on the account, below zero after a step that took more than was left."""
        if self._fraction >= 1:
            return float("inf")
        earned = self._fraction * max(0.0, now - self._updated_at)
        self._seconds = min(self._max_seconds, self._seconds + earned)
        self._updated_at = max(now, self._updated_at)
        return self._seconds

    def allocate(self, captured: float, now: float, *, queued: int) -> "FrameBudget":
        """Return the budget of a frame captured at `captured`, with `queued` others behind it."""
        return FrameBudget(self, self.available(now) / (1 + queued), captured + self._deadline)

    def spend(self, seconds: float) -> None:
        """Take the duration of a step from the account."""
        self._seconds -= seconds


class FrameBudget:
    """What the explanation of one frame may take: its part of the account, until its deadline.

    A burst gets fewer maps first, since the account is divided among the queued frames, and none later.
    """

    def __init__(self, budget: TimeBudget, seconds: float, until: float) -> None:
        self._budget = budget
        self._seconds = seconds
        self._until = until
        self.stop_reason: str | None = None

    def spend(self, seconds: float) -> None:
        """Take the duration of a step from both accounts."""
        self._seconds -= seconds
        self._budget.spend(seconds)

    def may_continue(self, now: float, *, stopping: bool = False) -> bool:
        """Return whether there is time for another step; if not, `stop_reason` says why."""
        if stopping:
            self.stop_reason = "the daemon is stopping"
        elif now >= self._until:
            self.stop_reason = "the event would be late"
        elif self._seconds <= 0 or self._budget.available(now) <= 0:
            self.stop_reason = "explanations have used up their fraction of the time"
        return self.stop_reason is None
