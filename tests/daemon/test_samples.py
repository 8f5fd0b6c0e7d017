"""Which frames are kept for learning, and that nothing waits for them."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from monitor.daemon.sample_selection import Group, SampleSelector, SamplingRules, make_thumbnail
from monitor.daemon.samples import SampleRecorder, encode_png
from monitor.events.event import event_id
from monitor.events.samples import Sample
from monitor.models.novelty import NoveltyScore
from monitor.records import Frame, Image, Verdict
from monitor.redis_streams.sample_store import SampleStore
from monitor.redis_streams.subscriber import Subscriber
from monitor.telemetry.sample_metrics import SampleMetrics
from tests.support.daemon_process import wait_for
from tests.support.events import make_event, make_finding
from tests.support.fake_model import spec_of

DAY = date(2026, 11, 30)
BLANK = np.zeros((64, 64), np.float32)
ALL = SamplingRules(random_fraction=1.0, interval=0.0)


def choices(rules: SamplingRules, scores: list[float], step: float = 1.0) -> list[tuple[str, str | None]]:
    selector = SampleSelector(rules, random.Random(1))
    chosen = []
    for number, score in enumerate(scores):
        choice = selector.choose(score, 0.5, False, number * step, DAY)
        if choice is not None:
            chosen.append(tuple(choice))
            if choice.skipped is None:
                selector.count(choice.reason, BLANK)
    return chosen  # type: ignore[return-value]  # a NamedTuple's fields


def test_an_unfamiliar_frame_comes_before_one_near_the_threshold_and_a_random_one() -> None:
    selector = SampleSelector(replace(ALL, random_fraction=0.0), random.Random(1))
    assert [
        choice and choice.reason
        for choice in (
            selector.choose(0.45, 0.5, True, 0, DAY),
            selector.choose(0.45, 0.5, False, 1, DAY),
            selector.choose(0.1, 0.5, False, 2, DAY),
        )
    ] == ["unfamiliar", "near-threshold", None]
    nothing = SampleSelector(SamplingRules(band=0.0, unfamiliar=False, random_fraction=0.0))
    assert nothing.choose(0.4999, 0.5, True, 0, DAY) is None


def test_the_interval_and_the_days_budget_limit_what_is_kept() -> None:
    rules = SamplingRules(random_fraction=0.0, interval=2.0, per_day=2)
    assert choices(rules, [0.45] * 7) == [
        ("near-threshold", None),
        ("near-threshold", "interval"),
        ("near-threshold", None),
        ("near-threshold", "interval"),
        ("near-threshold", "budget"),
        ("near-threshold", "budget"),
        ("near-threshold", "budget"),
    ]
    selector = SampleSelector(rules)
    for _ in range(2):
        assert (
            selector.choose_by_budget("flagged", DAY).skipped is None
        )  # flagged frames have a budget and no interval
        selector.count("flagged", BLANK)
    assert selector.choose_by_budget("flagged", DAY).skipped == "budget"
    assert selector.choose(0.45, 0.5, False, 0, DAY) == ("near-threshold", None)  # each reason has its own
    assert selector.choose_by_budget("flagged", date(2026, 12, 1)).skipped is None


@given(st.lists(st.floats(0, 0.499), max_size=60), st.integers(1, 5), st.floats(0, 3))
def test_no_more_is_kept_than_the_rules_allow(scores: list[float], per_day: int, interval: float) -> None:
    rules = SamplingRules(random_fraction=0.5, interval=interval, per_day=per_day)
    selector, kept = SampleSelector(rules, random.Random(2)), []
    for number, score in enumerate(scores):
        choice = selector.choose(score, 0.5, False, float(number), DAY)
        if choice is not None and choice.skipped is None:
            selector.count(choice.reason, BLANK)
            kept.append((number, choice.reason))
            assert (choice.reason == "near-threshold") == (score >= 0.3)
    assert all(later - earlier >= interval for (earlier, _), (later, _) in pairwise(kept))
    assert all([reason for _, reason in kept].count(reason) <= per_day for _, reason in kept)


def noisy(seed: int, base: Image) -> Image:
    noise = np.random.default_rng(seed).normal(0, 8, base.shape)
    return np.clip(base + noise, 0, 255).astype(np.uint8)


def test_near_duplicates_differ_by_noise_alone() -> None:
    selector = SampleSelector(ALL)

    def is_duplicate(image: Image, group: Group = "clean") -> bool:
        return selector.is_duplicate(make_thumbnail(image), group)

    texture = cv2.resize(np.random.default_rng(1).integers(60, 200, (64, 64, 3), np.uint8), (512, 512))
    assert not is_duplicate(texture)
    selector.count("random", make_thumbnail(texture))
    assert is_duplicate(noisy(1, texture))
    assert not is_duplicate(noisy(2, texture), "flagged")  # a flagged frame among its kind
    scratched = texture.copy()
    cv2.line(scratched, (200, 200), (240, 215), (255, 255, 255), 4)
    assert not is_duplicate(scratched)
    assert not is_duplicate(np.roll(texture, 40, axis=1))


def test_a_png_file_has_the_same_pixels() -> None:
    image = np.random.default_rng(3).integers(0, 256, (31, 57, 3), np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_png(image), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, image)


def textured(number: int, camera: str = "top") -> Frame:
    image = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    frame = make_finding(number, camera).frame
    return replace(frame, image=image, captured_at=datetime.now(UTC), source_name="clip.mp4#t=1.000")


class Recording:
    """A recorder with its thread and its metrics."""

    def __init__(self, url: str, rules: SamplingRules = ALL, **options: Any) -> None:
        self.registry = CollectorRegistry()
        self.store = SampleStore(url, "defects", timeout=0.5, **options)
        self.recorder = SampleRecorder(self.store, rules, SampleMetrics(self.registry))

    def value(self, name: str, **labels: str) -> float:
        wanted = {"camera": "top", **labels}
        return self.registry.get_sample_value(f"defect_monitor_{name}", wanted) or 0.0

    def clean(self, frame: Frame, score: float = 0.1, novelty: NoveltyScore | None = None) -> None:
        self.recorder.on_clean(frame, Verdict("good", score, 0.5), novelty, spec_of())


@contextmanager
def recording(url: str, rules: SamplingRules = ALL, **options: Any) -> Iterator[Recording]:
    its = Recording(url, rules, **options)
    its.recorder.start()
    try:
        yield its
    finally:
        its.recorder.close()
        its.recorder.thread.join(10)
        assert not its.recorder.thread.is_alive()


def stored(url: str, count: int) -> list[tuple[Sample, bytes | None]]:
    with Subscriber(url, interval=0.02) as subscriber:
        samples = subscriber.samples("0", stop=iter([False] * (count + 1) + [True] * 9).__next__)
        return [(sample, subscriber.sample_image(sample)) for sample in samples]


def test_clean_and_flagged_frames_are_kept_as_they_are(valkey: str) -> None:
    flagged = textured(1)
    event = make_event(1)
    with recording(valkey) as its:
        frame = textured(0)
        its.clean(frame, 0.4, NoveltyScore(1.0, 2.0))
        wait_for(lambda: its.value("samples_total", reason="near-threshold") == 1, 20)
        its.recorder.on_event(event, flagged)
        wait_for(lambda: its.value("samples_total", reason="flagged") == 1, 20)
    (clean, png), (second, flagged_png) = stored(valkey, 2)
    assert clean.id == event_id("top", frame.captured_at, 0)
    assert (clean.reason, clean.score, clean.threshold) == ("near-threshold", 0.4, 0.5)
    assert clean.familiarity is not None
    assert (clean.familiarity.distance, clean.familiarity.unfamiliar) == (1.0, False)
    assert (clean.image.width, clean.image.height, clean.source_name) == (64, 48, "clip.mp4#t=1.000")
    assert (second.id, second.reason, second.score) == (event.id, "flagged", event.score)
    for kept, image in ((png, frame.image), (flagged_png, flagged.image)):
        assert kept is not None
        decoded = cv2.imdecode(np.frombuffer(kept, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(decoded, image)


def test_a_duplicate_and_a_frame_without_room_are_counted(valkey: str) -> None:
    its = Recording(valkey)
    its.clean(textured(0))
    its.clean(textured(1))  # the mailbox is full: the thread does not run yet
    assert its.value("skipped_samples_total", cause="queue-full") == 1
    its.recorder.start()
    wait_for(lambda: its.value("samples_total", reason="random") == 1, 20)
    its.clean(textured(0))
    wait_for(lambda: its.value("skipped_samples_total", cause="duplicate") == 1, 20)
    its.clean(textured(2), novelty=NoveltyScore(float("nan"), 2.0))
    wait_for(lambda: its.value("skipped_samples_total", cause="fault") == 1, 20)
    its.recorder.close()
    its.recorder.thread.join(10)
    assert its.recorder.thread.failure is None
    assert len(stored(valkey, 1)) == 1


def test_without_redis_samples_are_dropped_and_no_caller_waits(
    make_server: Callable[..., Any],
) -> None:
    server = make_server()
    with recording(server.url) as its:
        server.stop()
        its.clean(textured(0))
        wait_for(lambda: its.value("skipped_samples_total", cause="not-stored") == 1, 20)
        before = its.recorder.last_heartbeat
        wait_for(lambda: its.recorder.last_heartbeat > before, 20)
        server.start()
        its.clean(textured(1))
        wait_for(lambda: its.value("samples_total", reason="random") == 1, 20)
    (only,) = stored(server.url, 1)
    assert only[0].frame_number == 1


class HangingStore(SampleStore):
    """Takes nothing until it is released, as a server that hangs."""

    def __init__(self) -> None:
        super().__init__("redis://127.0.0.1:1", "defects")
        self.entered, self.release = threading.Event(), threading.Event()

    def store(self, sample: Sample, png: bytes) -> None:
        self.entered.set()
        self.release.wait(20)


def test_while_redis_hangs_no_frame_is_pinned_and_no_verdict_waits() -> None:
    import weakref

    store = HangingStore()
    recorder = SampleRecorder(store, ALL, SampleMetrics(CollectorRegistry()))
    recorder.start()
    frame = textured(0)
    alive = weakref.ref(frame.image)
    recorder.on_clean(frame, Verdict("good", 0.1, 0.5), None, spec_of())
    del frame
    assert store.entered.wait(20)
    wait_for(lambda: alive() is None, 20)  # given back before Redis may hang
    began = time.monotonic()
    for number in range(1, 200):
        recorder.on_clean(textured(number), Verdict("good", 0.1, 0.5), None, spec_of())
    assert not store.release.is_set()
    assert time.monotonic() - began < 20  # the server would hang for longer
    store.release.set()
    recorder.close()
    recorder.thread.join(10)


def test_files_in_redis_are_bounded_and_the_newest_stay(valkey: str, client: Any) -> None:
    store = SampleStore(valkey, "defects", max_bytes=1_000_000, ttl=100)
    png = bytes(300_000)
    samples = [
        Sample.of_event(make_event(number), f"defects:sample:{make_event(number).id}") for number in range(8)
    ]
    for sample in samples:
        store.store(sample, png)
    store.close()
    left = [bool(client.exists(f"defects:sample:{sample.id}")) for sample in samples]
    assert left == [False] * 5 + [True] * 3
    assert client.zcard("defects:sample-files") == 3
    assert client.xlen("defects:samples") == 8
    assert 0 < client.ttl(f"defects:sample:{samples[-1].id}") <= 100
    client.unlink(*(f"defects:sample:{sample.id}" for sample in samples))  # they expire
    store.store(samples[0], png)
    assert client.zcard("defects:sample-files") == 1
