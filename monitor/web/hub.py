"""Fan out what changes to all open pages: one connection a page, each fragment rendered once for all.

Twice a second each fragment that somebody shows is rendered, and sent where its text differs from the last.
So a burst of events costs no more than a quiet line, and nothing queues for a slow browser.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple

PERIOD = 0.5
"""Seconds between two renderings."""


class Topic(NamedTuple):
    """A fragment of a page: its event name, which an element names in `sse-swap`, and what draws it."""

    name: str
    language: str
    render: Callable[[], str]


class Hub:
    """Renders the topics of all connected pages. Belongs to one event loop."""

    def __init__(self) -> None:
        self._pages: dict[int, Sequence[Topic]] = {}
        self._watching: set[int] = set()
        self._texts: dict[tuple[str, str], str] = {}
        self._rendered = asyncio.Condition()
        self._stopping = False
        self._next = 0

    @property
    def watchers(self) -> int:
        """How many connected pages show live frames."""
        return len(self._watching)

    @property
    def is_stopping(self) -> bool:
        """Whether all streams are to end."""
        return self._stopping

    def stop(self) -> None:
        """End all streams at the next rendering."""
        self._stopping = True

    async def run(self) -> None:
        """Render until the task is cancelled."""
        while True:
            topics = {(it.name, it.language): it for page in self._pages.values() for it in page}
            # In a thread: drawing takes the state's lock, which a burst of entries may hold.
            self._texts = await asyncio.to_thread(_render, topics)
            async with self._rendered:
                self._rendered.notify_all()
            await asyncio.sleep(PERIOD)

    async def stream(
        self,
        topics: Sequence[Topic],
        clock: Callable[[], str],
        *,
        shows_live_frames: bool,
        known: Mapping[str, str],
    ) -> AsyncIterator[str]:
        """Yield server-sent events: each topic at first and after each change, and a `clock` every time.

        `known` are texts, by topic, that the page was sent with.
        """
        number, self._next = self._next, self._next + 1
        sent = {(it.name, it.language): known[it.name] for it in topics if it.name in known}
        self._pages[number] = topics
        if shows_live_frames:
            self._watching.add(number)
        try:
            while not self._stopping:
                async with self._rendered:
                    await self._rendered.wait()
                for topic in topics:
                    key = (topic.name, topic.language)
                    text = self._texts.get(key)
                    if text is not None and sent.get(key) != text:
                        sent[key] = text
                        yield format_event(topic.name, text)
                yield format_event("clock", clock())
        finally:
            del self._pages[number]
            self._watching.discard(number)


def _render(topics: Mapping[tuple[str, str], Topic]) -> dict[tuple[str, str], str]:
    return {key: topic.render() for key, topic in topics.items()}


def format_event(name: str, text: str) -> str:
    """Return one server-sent event; a line break inside `text` becomes a further `data` line."""
    data = "\n".join(f"data: {line}" for line in text.splitlines())
    return f"event: {name}\n{data}\n\n"
