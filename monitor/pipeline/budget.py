"""How much time explanations may take: a share of it, and none that would make an event late."""


class TimeBudget:
    """Explanations' account of time: `share` (0..1) of every second is paid in, up to `share` times `window`.

    What is on the account is what a burst of defects may use at once; when it is used up, explanations get
    `share` of the time. A step of one is begun while the account is above zero, so over any time t no more
    than share (window + t) is used, and one step. A share of 1 sets no limit. `deadline` is how many seconds
    after its capture a frame may still be explained. All times are seconds of one clock, handed in.
    """

    def __init__(self, share: float, deadline: float, *, now: float, window: float = 10.0) -> None:
        self._share = share
        self._deadline = deadline
        self._most = share * window
        self._left = self._most
        self._paid_at = now

    def available(self, now: float) -> float:
        """Seconds on the account, below zero after a step that took more than was left."""
        if self._share >= 1:
            return float("inf")
        self._left = min(self._most, self._left + self._share * max(0.0, now - self._paid_at))
        self._paid_at = max(now, self._paid_at)
        return self._left

    def allocate(self, captured: float, now: float, *, waiting: int) -> "FrameBudget":
        """What a frame captured at `captured` may take, with `waiting` others behind it."""
        return FrameBudget(self, self.available(now) / (1 + waiting), captured + self._deadline)

    def spend(self, seconds: float) -> None:
        """Take from the account what a step took."""
        self._left -= seconds


class FrameBudget:
    """What the explanation of one frame may take: its part of the account, until its deadline.

    So a burst gets fewer maps first, since the account is divided among those that wait, and none later.
    """

    def __init__(self, budget: TimeBudget, seconds: float, until: float) -> None:
        self._budget = budget
        self._seconds = seconds
        self._until = until
        self.stop_reason: str | None = None

    def spend(self, seconds: float) -> None:
        """Say that a step was made and took so long."""
        self._seconds -= seconds
        self._budget.spend(seconds)

    def may_continue(self, now: float, *, stopping: bool = False) -> bool:
        """Whether there is time for a step; if not, `why_not` says why."""
        if stopping:
            self.stop_reason = "the daemon is stopping"
        elif now >= self._until:
            self.stop_reason = "the event would come too late"
        elif self._seconds <= 0 or self._budget.available(now) <= 0:
            self.stop_reason = "explanations have used up their share of the time"
        return self.stop_reason is None
