"""How long to wait before a source is opened again."""

import random
from collections.abc import Iterator

MAX_DELAY = 3.0
"""Seconds. Opening takes up to two more, and a source that is back must be observed within 5 s."""


def reconnect_delays(longest: float = MAX_DELAY, rng: random.Random | None = None) -> Iterator[float]:
    """Yield the seconds to wait before each attempt: 0, then 0.5, 1, 2 … up to `longest`, without end.

    Each is shortened by up to a quarter at random, so that many cameras do not reconnect at the same time.
    """
    rng = rng or random.Random()  # noqa: S311 (spreads load, guards nothing)
    yield 0.0
    delay = 0.5
    while True:
        yield min(delay, longest) * rng.uniform(0.75, 1)
        delay = min(delay * 2, longest)
