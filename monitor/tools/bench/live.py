"""Rows of live cameras: in time, in a burst of defects, and with more frames than the machine carries."""

import math
import time

import redis

from monitor.events.coverage import parse_numbers
from monitor.events.event import Event
from monitor.tools.bench.daemon_process import run_daemon
from monitor.tools.bench.line import (
    LENGTH,
    PERIOD,
    BenchConfig,
    PipelineResult,
    camera_table,
    stage_means,
    stage_seconds,
    unlimited_rate,
)
from monitor.tools.bench.recordings import every_nth, video


def live(setup: BenchConfig) -> list[PipelineResult]:
    """Rows 6 and 13: one camera at 30 frames a second, 512x512, 1 % defects: verdicts, events, boxes."""
    recording = video(setup.folder / "one-in-100.mp4", LENGTH, every_nth(100))
    with run_daemon(setup.redis, [camera_table(recording, fps=30)], setup.more) as daemon:
        daemon.wait_until_passed(90)
        seen = daemon.measure(setup.seconds)
    dropped = seen.total("frames_total", outcome="dropped")
    rows = []
    for share, aim in ((0.5, 0.7), (0.99, 1.0), (0.999, 2.0)):
        periods = seen.quantile("verdict_seconds", share) / PERIOD
        name = f"live 30/s, 1 % defects, {seen.at:.0f} s: verdict p{100 * share:g} in frame periods"
        rows.append(PipelineResult(6, name, f"{periods:.2f}", f"< {aim:g}", periods < aim, stage_means(seen)))
    rows.append(PipelineResult(6, "the same: frames dropped", f"{dropped:.0f}", "0", dropped == 0))
    periods, slowest = seen.quantile("event_seconds", 0.5) / PERIOD, seen.quantile("event_seconds", 0.99)
    rows.append(
        PipelineResult(
            13, "the same: capture to Redis, p50 in periods", f"{periods:.2f}", "≤ 3", periods <= 3
        )
    )
    rows.append(
        PipelineResult(13, "the same: capture to Redis, p99 in s", f"{slowest:.2f}", "≤ 0.5", slowest <= 0.5)
    )
    means = stage_seconds(seen)
    seconds = [means.get(stage, math.nan) for stage in ("wait", "explain", "locate")]  # NaN: none was flagged
    passes = sum(seconds) / means["classify"]
    what = "the same: heat and boxes after the verdict, in mean passes"
    rows.append(PipelineResult(13, what, f"{passes:.2f}", "≤ 1.2", passes <= 1.2))
    return rows


def overload(setup: BenchConfig) -> list[PipelineResult]:
    """Row 12: three live cameras that together deliver twice what the machine carries."""
    recording = video(setup.folder / "one-in-100.mp4", LENGTH, every_nth(100))
    most, details = unlimited_rate(setup, recording)
    count = 3
    fps = 2 * most / count
    each = [camera_table(recording, name=f"camera-{index}", fps=fps) for index in range(count)]
    with redis.Redis.from_url(setup.redis, protocol=2) as client:
        client.flushall()
    with run_daemon(setup.redis, each, setup.more) as daemon:
        daemon.wait_until_passed(8 * most)  # four seconds
        seen = daemon.measure(setup.seconds)
        per_camera = seen.by("verdict_seconds_count", "camera")
    throughput = seen.judged / seen.at / most
    late = (seen.quantile("verdict_seconds", 0.99) - 1 / most) * fps
    evenness = min(per_camera.values()) / max(per_camera.values())
    longest = _longest_loss(setup.redis, since=0.2)
    name = f"{count} live cameras, twice the maximum"
    details |= {f"overload: {stage}": value for stage, value in stage_means(seen).items()}
    return [
        PipelineResult(
            12, f"{name}: frames/s, to the maximum", f"{throughput:.2f}", "≥ 0.95", throughput >= 0.95
        ),
        PipelineResult(
            12, "the same: verdict p99 less one pass, in periods", f"{late:.2f}", "≤ 3", late <= 3, details
        ),
        PipelineResult(
            12, "the same: verdicts of the least served camera, to the most", f"{evenness:.2f}", "", None
        ),
        PipelineResult(12, "the same: most frames dropped in a row", f"{longest}", "", None),
    ]


def burst(setup: BenchConfig) -> list[PipelineResult]:
    """Row 7: ten seconds of defects only, after twenty with 1 % and before twenty without.

    Every frame that is captured in the burst has a box in its event, or is counted as dropped.
    """
    fps, begin, end = 30, 600, 900
    every_hundredth = every_nth(100)
    line = setup.folder / "burst.mp4"
    video(
        line, end + 600, lambda number: begin <= number < end or (number < begin and every_hundredth(number))
    )
    with redis.Redis.from_url(setup.redis, protocol=2) as client:
        client.flushall()
    with run_daemon(
        setup.redis, [camera_table(line, fps=fps, loop=False, frames="newest")], setup.more
    ) as daemon:
        daemon.wait_until_passed(90)  # the first frames run with cold caches
        start = daemon.snapshot()
        daemon.wait_until_passed(begin - 5)
        before = daemon.snapshot()
        daemon.wait_until_passed(end)
        during = daemon.snapshot()
        time.sleep(10)
        after = daemon.snapshot()
    events = _events(setup.redis)
    calm, busy = before.since(start), during.since(before)
    within = [(event, out) for event, out in events if begin <= event.frame_number < end]
    last = max((event.captured_at.timestamp() for event, _ in within), default=0.0)
    late = max((out for _, out in within), default=float("inf")) - last
    flagged = after.total("frames_total", outcome="defect")
    ratio = busy.quantile("verdict_seconds", 0.99) / calm.quantile("verdict_seconds", 0.99)
    outcomes = after.since(before).by("explanations_total", "outcome")
    weighed = [event.explanation.max_n for event, _ in within]
    without_box = sum(not event.explanation.localised for event, _ in within)
    details = {
        **{f"explained: {name}": count for name, count in outcomes.items()},
        "maps scored on average": sum(weighed) / max(1, len(weighed)),
        "verdict p99 before, ms": 1000 * calm.quantile("verdict_seconds", 0.99),
        "verdict p99 in the burst, ms": 1000 * busy.quantile("verdict_seconds", 0.99),
        "frames dropped": after.total("frames_total", outcome="dropped"),
    }
    lost = int(flagged) - len(events)
    return [
        PipelineResult(
            7, "burst of 10 s: flagged frames without an event", f"{lost} of {flagged:.0f}", "0", lost == 0
        ),
        PipelineResult(
            7, "events of the burst without a box", f"{without_box} of {len(within)}", "0", without_box == 0
        ),
        PipelineResult(
            7, "verdict p99 in the burst to that before", f"{ratio:.2f}", "≤ 1.5", ratio <= 1.5, details
        ),
        PipelineResult(7, "last event after the burst's end, s", f"{late:.2f}", "≤ 1", late <= 1),
    ]


def _longest_loss(url: str, since: float) -> int:
    """Return the most frames of a camera that were dropped in a row, after the fraction `since` of the
    run."""
    numbers: dict[bytes, set[int]] = {}
    with redis.Redis.from_url(url, protocol=2) as client:
        for _, fields in client.xrange("defects:coverage"):
            if fields.get(b"cause") in (b"overload", b"late") and fields.get(b"numbers"):
                dropped = numbers.setdefault(fields[b"camera"], set())
                dropped.update(parse_numbers(fields[b"numbers"].decode()))
    longest = 0
    for dropped in numbers.values():
        begin, run = since * max(dropped), 0
        for number in sorted(dropped):
            run = run + 1 if number - 1 in dropped else 1
            longest = max(longest, run if number > begin else 0)
    return longest


def _events(url: str) -> list[tuple[Event, float]]:
    """Every event in the stream with the Unix time of its arrival."""
    with redis.Redis.from_url(url, protocol=2) as client:
        entries = client.xrange("defects:events")
    return [(Event.from_json(fields[b"event"]), int(key.split(b"-")[0]) / 1000) for key, fields in entries]
