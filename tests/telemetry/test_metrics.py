"""The metrics: names others rely on, counts that add up, text that Prometheus' own checker accepts."""

import math
import shutil
import subprocess
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from monitor.telemetry.metrics import LATENCY_BUCKETS, Metrics

PROMTOOL = shutil.which("promtool")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry) -> Metrics:
    return Metrics(registry, cameras=("a", "b"), labels=("defect",))


def value(registry: CollectorRegistry, name: str, /, **labels: str) -> float | None:
    return registry.get_sample_value(f"defect_monitor_{name}", labels)


def test_all_names_and_labels_of_the_contract_are_there_from_the_start(registry, metrics):
    metrics.on_frame("a", 1.0)
    metrics.models([("m", "0", "cpu", "float32")])
    metrics.build("1")
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(set(sample.labels) - {"le"})
    by_camera = {"camera"}
    expected = {
        "stage_seconds_bucket": {"camera", "stage"},
        "verdict_seconds_bucket": by_camera,
        "event_seconds_bucket": by_camera,
        "late_verdicts_total": by_camera,
        "frames_total": {"camera", "outcome"},
        "dropped_frames_total": {"camera", "cause"},
        "events_total": {"camera", "label"},
        "explanations_total": {"camera", "outcome"},
        "score_bucket": by_camera,
        "camera_up": by_camera,
        "camera_state": {"camera", "state"},
        "camera_name_clash": by_camera,
        "camera_reconnects_total": {"camera", "cause"},
        "last_frame_timestamp_seconds": by_camera,
        "redis_up": set(),
        "outbox_events": set(),
        "outbox_bytes": set(),
        "outbox_oldest_seconds": set(),
        "outbox_durable": set(),
        "outbox_shed_total": {"kind"},
        "pictures_withheld_total": {"cause"},
        "pictures_removed_total": set(),
        "redis_picture_bytes": set(),
        "model_info": {"name", "sha256", "device", "precision"},
        "build_info": {"version"},
    }
    assert {name: labels.get(f"defect_monitor_{name}") for name in expected} == expected


def test_counters_stand_at_zero_before_anything_happened(registry, metrics):
    for camera in ("a", "b"):
        assert value(registry, "camera_up", camera=camera) == 0
        assert value(registry, "events_total", camera=camera, label="defect") == 0
        assert value(registry, "dropped_frames_total", camera=camera, cause="overload") == 0
        assert value(registry, "camera_reconnects_total", camera=camera, cause="timeout") == 0
        for outcome in ("clean", "defect", "unusable", "dropped"):
            assert value(registry, "frames_total", camera=camera, outcome=outcome) == 0
        for stage in ("capture", "queue", "classify", "wait", "explain", "locate", "annotate", "publish"):
            assert value(registry, "stage_seconds_count", camera=camera, stage=stage) == 0


def test_a_camera_that_gave_no_frame_has_no_time_of_its_last(registry, metrics):
    assert value(registry, "last_frame_timestamp_seconds", camera="a") is None
    metrics.on_frame("a", 1_700_000_000.25)
    assert value(registry, "last_frame_timestamp_seconds", camera="a") == 1_700_000_000.25


def test_dropped_frames_are_frames_too(registry, metrics):
    metrics.on_outcome("a", "clean")
    metrics.on_outcome("a", "defect")
    metrics.dropped("a", "overload", 5)
    metrics.dropped("a", "unreadable", 2)
    outcomes = {
        outcome: value(registry, "frames_total", camera="a", outcome=outcome)
        for outcome in ("clean", "defect", "unusable", "dropped")
    }
    assert outcomes == {"clean": 1, "defect": 1, "unusable": 0, "dropped": 7}
    assert value(registry, "dropped_frames_total", camera="a", cause="overload") == 5
    assert value(registry, "frames_total", camera="b", outcome="dropped") == 0


def test_each_call_reaches_its_metric(registry, metrics):
    metrics.on_stage("a", "queue", 0.012)
    metrics.on_verdict("a", 0.93, 0.04)
    metrics.event("b", "defect", 0.2)
    metrics.on_explanation("a", "reduced")
    metrics.camera_state("a", "up")
    metrics.unusable("b", 3)
    metrics.reconnect("a", "timeout")
    metrics.redis_up(True)
    metrics.outbox(3, 4096, 1.5)
    metrics.models([("old", "s", "cpu", "p")])
    metrics.models([("n", "s", "cpu", "p")])
    metrics.build("0.1.0")
    assert value(registry, "stage_seconds_sum", camera="a", stage="queue") == 0.012
    assert value(registry, "verdict_seconds_sum", camera="a") == 0.04
    assert value(registry, "score_sum", camera="a") == 0.93
    assert value(registry, "event_seconds_sum", camera="b") == 0.2
    assert value(registry, "events_total", camera="b", label="defect") == 1
    assert value(registry, "explanations_total", camera="a", outcome="reduced") == 1
    assert value(registry, "camera_up", camera="a") == 1
    assert value(registry, "camera_state", camera="a", state="up") == 1
    assert value(registry, "camera_state", camera="a", state="down") == 0
    assert value(registry, "frames_total", camera="b", outcome="unusable") == 3
    assert value(registry, "camera_reconnects_total", camera="a", cause="timeout") == 1
    assert value(registry, "redis_up") == 1
    assert value(registry, "outbox_events") == 3
    assert value(registry, "outbox_bytes") == 4096
    assert value(registry, "outbox_oldest_seconds") == 1.5
    assert value(registry, "model_info", name="n", sha256="s", device="cpu", precision="p") == 1
    assert value(registry, "model_info", name="old", sha256="s", device="cpu", precision="p") is None
    assert value(registry, "build_info", version="0.1.0") == 1


def series_of(registry: CollectorRegistry, camera: str) -> set[str]:
    """Names of all samples that name the camera."""
    return {
        sample.name
        for family in registry.collect()
        for sample in family.samples
        if sample.labels.get("camera") == camera
    }


def everything_of(metrics: Metrics, camera: str) -> None:
    """Make every call that names a camera."""
    metrics.on_frame(camera, 1.0)
    metrics.on_stage(camera, "queue", 0.012)
    metrics.on_verdict(camera, 0.93, 0.04)
    metrics.on_late_verdict(camera)
    metrics.on_outcome(camera, "clean")
    metrics.dropped(camera, "overload", 2)
    metrics.event(camera, "defect", 0.2)
    metrics.on_explanation(camera, "full")
    metrics.on_novelty(camera, 3.0, 2.0)
    metrics.camera_state(camera, "up")
    metrics.unusable(camera, 3)
    metrics.reconnect(camera, "timeout")


def test_a_forgotten_camera_leaves_no_series_and_late_news_of_it_make_none(registry, metrics):
    everything_of(metrics, "a")
    assert series_of(registry, "a") == series_of(registry, "b") | {
        "defect_monitor_last_frame_timestamp_seconds"
    }
    kept = series_of(registry, "b")
    metrics.remove_camera("a")
    assert series_of(registry, "a") == set()
    everything_of(metrics, "a")
    assert series_of(registry, "a") == set()
    assert series_of(registry, "b") == kept


def test_a_camera_that_comes_later_starts_at_zero_and_is_not_reset_by_a_second_word(registry, metrics):
    metrics.add_camera("c")
    assert series_of(registry, "c") == series_of(registry, "b")
    assert value(registry, "frames_total", camera="c", outcome="clean") == 0
    metrics.on_outcome("c", "clean")
    metrics.add_camera("c")
    assert value(registry, "frames_total", camera="c", outcome="clean") == 1
    metrics.remove_camera("c")
    metrics.add_camera("c")
    assert value(registry, "frames_total", camera="c", outcome="clean") == 0


def test_a_camera_that_is_not_watched_is_not_counted(registry, metrics):
    everything_of(metrics, "stranger")
    assert series_of(registry, "stranger") == set()


def test_the_process_tells_its_start_memory_and_open_files(registry, metrics):
    age = time.time() - registry.get_sample_value("process_start_time_seconds")
    assert 0 < age < time.monotonic()  # no older than the machine
    assert registry.get_sample_value("process_resident_memory_bytes") > 1e6
    assert registry.get_sample_value("process_open_fds") >= 1


def test_a_camera_is_in_one_state_at_a_time(registry, metrics):
    for state in ("starting", "up", "frozen", "down", "up"):
        metrics.camera_state("a", state)
        samples = [s for family in registry.collect() for s in family.samples if s.name.endswith("_state")]
        of_a = {s.labels["state"]: s.value for s in samples if s.labels["camera"] == "a"}
        assert [name for name, set_ in of_a.items() if set_] == [state]
        assert value(registry, "camera_up", camera="a") == (state == "up")


def test_buckets_run_from_a_millisecond_to_fifteen_minutes_with_borders_at_frame_periods():
    assert (LATENCY_BUCKETS[0], LATENCY_BUCKETS[-1]) == (0.001, 900.0)
    assert list(LATENCY_BUCKETS) == sorted(set(LATENCY_BUCKETS))
    assert {1 / fps for fps in (15, 25, 30, 50, 60)} <= set(LATENCY_BUCKETS)


def test_whether_redis_is_up_is_unknown_until_somebody_asked(registry, metrics):
    assert math.isnan(value(registry, "redis_up"))
    metrics.redis_up(False)
    assert value(registry, "redis_up") == 0


def test_late_verdicts_are_counted(registry, metrics):
    assert value(registry, "late_verdicts_total", camera="a") == 0
    metrics.on_late_verdict("a")
    assert value(registry, "late_verdicts_total", camera="a") == 1


def test_two_daemons_in_one_process_keep_their_counts_apart():
    registries = CollectorRegistry(), CollectorRegistry()
    first, _ = (Metrics(registry, cameras=["a"]) for registry in registries)
    first.on_outcome("a", "clean")
    counts = [value(registry, "frames_total", camera="a", outcome="clean") for registry in registries]
    assert counts == [1, 0]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_complain_about(registry, metrics):
    metrics.on_frame("a", 1.0)
    metrics.models([('quote " backslash \\ newline \n', "0", "cpu", "float32")])
    metrics.build("1")
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
