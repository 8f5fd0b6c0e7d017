"""What can be labelled and what was: the newest frames and labels in Redis, read as they come."""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace

from monitor.events.labels import Label, standing_labels
from monitor.redis_streams.history import HistoryEntry, StreamHistory
from monitor.redis_streams.labelling import read_event, read_labels, read_sample
from monitor.web.labelling.queue import LabelFrame

MAX_FRAMES = 2_000
"""Frames that can be labelled; older ones are reached by their address."""

MAX_LABELLED = 20_000
"""Frames whose labels are in memory, without masks."""

_PAGE = 500


class LabelBook:
    """Frames and labels below `history`. Callable from any thread; everything raises DeliveryError."""

    def __init__(self, history: StreamHistory) -> None:
        self._history = history
        self._frames: OrderedDict[str, LabelFrame] = OrderedDict()
        self._labels: OrderedDict[str, tuple[Label, ...]] = OrderedDict()
        self._standing: dict[str, tuple[Label, ...]] = {}
        self._after: dict[str, str] = {}
        self._lock = threading.Lock()

    def frames(self) -> list[LabelFrame]:
        """Return the newest frames that have an event or a sample, the oldest first."""
        with self._lock:
            self._refresh()
            return list(self._frames.values())

    def standing(self) -> Mapping[str, tuple[Label, ...]]:
        """Return the labels that count, by frame; see `standing_labels`."""
        with self._lock:
            self._refresh()
            return dict(self._standing)

    def _refresh(self) -> None:
        keys = self._history.keys
        for entry in self._new_entries(keys.events, MAX_FRAMES // 2):
            if (event := read_event(entry)) is not None:
                self._frames[event.id] = LabelFrame.of_event(event, entry.id)
        for entry in self._new_entries(keys.samples, MAX_FRAMES // 2):
            if (sample := read_sample(entry)) is not None:
                flagged = self._frames.get(sample.id)
                kept = LabelFrame.of_sample(sample)
                self._frames[sample.id] = kept if flagged is None else replace(flagged, has_sample=True)
        for label in read_labels(self._new_entries(keys.labels, MAX_LABELLED)):
            self._add(label)
        while len(self._frames) > MAX_FRAMES:
            self._frames.popitem(last=False)
        while len(self._labels) > MAX_LABELLED:
            self._standing.pop(self._labels.popitem(last=False)[0], None)

    def _add(self, label: Label) -> None:
        frame = label.subject.id
        label = label.model_copy(update={"mask_png": None})
        self._labels[frame] = (*self._labels.pop(frame, ()), label)
        self._standing.pop(frame, None)
        self._standing |= standing_labels(self._labels[frame])

    def _new_entries(self, stream: str, at_first: int) -> Iterator[HistoryEntry]:
        """Yield entries that were not read yet; the first time, the newest `at_first`."""
        if stream not in self._after:
            newest = self._history.newest_first(stream, count=at_first)
            self._after[stream] = newest[0].id if newest else "0-0"
            yield from reversed(newest)
            return
        while entries := self._history.oldest_first(stream, f"({self._after[stream]}", count=_PAGE):
            self._after[stream] = entries[-1].id
            yield from entries
