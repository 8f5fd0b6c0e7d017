"""Dashboards of delivery, of the model, and of the process and its machine."""

from deploy.grafana.line import SHOWN, acknowledged, histogram, rate
from deploy.grafana.panels import Panel, Query, density, facts, lines, number, states

_HERE = 'instance=~"$instance"'
_UP = {0: ("down", "red"), 1: ("up", "green")}

_ZERO = f"sum by (camera) (0 * defect_monitor_camera_up{{{SHOWN}}})"
"""A line at zero for each camera where a counter has no series: nothing was counted yet."""


def delivery() -> list[Panel]:
    """Return the panels of the dashboard Delivery: does every event reach Redis, and how soon?"""
    here = "{{instance}}"
    withheld = f"increase(defect_monitor_pictures_withheld_total{{{_HERE}}}[15m])"
    return [
        states(
            1,
            "Redis",
            Query(f"defect_monitor_redis_up{{{_HERE}}}", here),
            _UP,
            about="Whether Redis acknowledges events.",
        ),
        lines(
            2,
            "Queued events",
            "none",
            Query(f"defect_monitor_outbox_events{{{_HERE}}}", here),
            about="Events in the outbox.",
        ),
        lines(
            3,
            "Age of the oldest",
            "s",
            Query(f"defect_monitor_outbox_oldest_seconds{{{_HERE}}}", here),
            about="Age of the oldest event in the outbox.",
        ),
        lines(
            4,
            "Size of the outbox",
            "bytes",
            Query(f"defect_monitor_outbox_bytes{{{_HERE}}}", here),
            about="Events and images together.",
        ),
        lines(
            5,
            "Events a minute",
            "none",
            Query(
                f"60 * {rate('camera, label', 'events_total')}",
                "{{camera}} {{label}}",
            ),
            about="Acknowledged by Redis.",
        ),
        acknowledged(6, "p50", "p99"),
        lines(
            7,
            "Dropped within 15 minutes",
            "none",
            Query(
                f"sum by (instance, kind) (increase(defect_monitor_outbox_shed_total{{{_HERE}}}[15m]))",
                "{{instance}} {{kind}}",
            ),
            Query(
                f"sum by (instance, sink) (increase(defect_monitor_outbox_set_aside_total{{{_HERE}}}[15m]))",
                "{{instance}} set aside for {{sink}}",
            ),
            about="Dropped by a full or damaged outbox, images first; or refused by a sink and set aside.",
        ),
        states(
            8,
            "Outbox on disk",
            Query(f"defect_monitor_outbox_durable{{{_HERE}}}", here),
            {0: ("in memory", "yellow"), 1: ("on disk", "green")},
            about="Whether all queued events survive a crash of the daemon.",
            width=12,
        ),
        lines(
            9,
            "Images in Redis",
            "bytes",
            Query(f"defect_monitor_redis_picture_bytes{{{_HERE}}}", here),
            about="When redis.picture_bytes is reached, the oldest are removed.",
        ),
        lines(
            10,
            "Events without their images, within 15 minutes",
            "none",
            Query(
                f"sum by (instance, cause) ({withheld})",
                "{{instance}} {{cause}}",
            ),
            about="Images that Redis had no room for. Their events were delivered.",
        ),
        lines(
            11,
            "Unread by consumer groups: age",
            "s",
            Query(f"defect_monitor_consumer_oldest_seconds{{{_HERE}}}", "{{group}}"),
            Query(f"max(defect_monitor_stream_oldest_seconds{{{_HERE}}})", "oldest in the stream"),
            about="Age of the oldest event that a group has not acknowledged, and of the oldest in Redis.",
        ),
        lines(
            12,
            "Unread by consumer groups: events",
            "none",
            Query(f"defect_monitor_consumer_lag_events{{{_HERE}}}", "{{group}} unread"),
            Query(f"defect_monitor_consumer_pending_events{{{_HERE}}}", "{{group}} not acknowledged"),
            about="Events that a group was not given yet, and those that it has not acknowledged.",
        ),
        states(
            13,
            "Archiver",
            Query("defect_monitor_archive_up", here),
            _UP,
            about="Whether events are stored in the archive.",
            width=12,
        ),
        lines(
            14,
            "Size of the archive",
            "bytes",
            Query("defect_monitor_archive_bytes", here),
            Query("defect_monitor_archive_max_bytes", "{{instance}} limit"),
            about="At the limit the oldest days are removed.",
        ),
        lines(
            15,
            "Missing in the archive",
            "none",
            Query("defect_monitor_archive_missed_total", "{{instance}} times that events were missed"),
            Query("defect_monitor_archive_images_missing_total", "{{instance}} images"),
            Query("defect_monitor_archive_removed_events_total", "{{instance}} events removed for room"),
            about="Trimmed away from Redis before they were archived, and removed with their day.",
        ),
    ]


def network() -> list[Panel]:
    """Return the panels of the dashboard Model: scores, novelty and explanations."""
    per = "instance, camera"
    sure = [rate(per, "score_bucket", f'{SHOWN},le="{border}"') for border in (0.1, 0.9)]
    return [
        density(
            1,
            "Scores over time",
            "none",
            histogram("score"),
            about="How many frames got which score. Good parts score low, defects score high.",
        ),
        lines(
            2,
            "Score drift",
            "none",
            Query(f"camera:defect_monitor_score_drift:ks_1h1d{{{SHOWN}}}"),
            about="Largest difference between the distributions of the last hour and the last day, 0 to 1.",
            top=1,
        ),
        lines(
            3,
            "Scores between 0.1 and 0.9",
            "percentunit",
            Query(f"({sure[1]} - {sure[0]}) / ({rate(per, 'score_count')} > 0)"),
            about="Share of frames about which the network is uncertain.",
        ),
        density(
            4,
            "Novelty",
            "none",
            histogram("novelty_ratio"),
            about="Distance from the training data; beyond 1 the model does not know the surface.",
        ),
        lines(
            5,
            "Unfamiliar frames",
            "percentunit",
            Query(f"camera:defect_monitor_unfamiliar:ratio_rate15m{{{SHOWN}}}"),
            about="Share of frames beyond the model's limit of novelty, over 15 minutes.",
        ),
        lines(
            6,
            "Explanations a minute, by outcome",
            "none",
            Query(
                f"60 * {rate('outcome', 'explanations_total')}",
                "{{outcome}}",
            ),
            about="Explained with all requested feature maps, with fewer, or not at all.",
            stacked=True,
        ),
        facts(
            7,
            "Which model, on what",
            Query(f"defect_monitor_model_info{{{_HERE}}}"),
            about="The network, its device and its arithmetic.",
            width=24,
        ),
        lines(
            8,
            "Samples a minute, by reason",
            "none",
            Query(
                f"60 * {rate('camera, reason', 'samples_total')} or {_ZERO}",
                "{{camera}} {{reason}}",
            ),
            about="Frames that were kept for learning.",
        ),
        lines(
            9,
            "Samples not kept, by cause",
            "none",
            Query(
                "sum by (camera, cause) "
                f"(increase(defect_monitor_skipped_samples_total{{{SHOWN}}}[15m])) or {_ZERO}",
                "{{camera}} {{cause}}",
            ),
            about="Frames worth keeping for learning that were not kept, within 15 minutes.",
        ),
        lines(
            10,
            "Shadow model: frames a minute, by outcome",
            "none",
            Query(
                f"60 * {rate('camera, outcome', 'shadow_frames_total')} or {_ZERO}",
                "{{camera}} {{outcome}}",
            ),
            about="The same verdict as the camera's model, another one, or dropped: not classified again.",
        ),
    ]


def process() -> list[Panel]:
    """Return the panels of the dashboard Process and machine."""
    ours = f'job="defect-monitor",{_HERE}'
    here = "{{instance}}"
    disks = '{fstype!~"tmpfs|ramfs|squashfs"}'
    free = f"node_filesystem_avail_bytes{disks} / node_filesystem_size_bytes{disks}"
    received = 'rate(node_network_receive_bytes_total{device!="lo"}[$__rate_interval])'
    return [
        states(
            1,
            "Daemon",
            Query(f"up{{{ours}}}", here),
            _UP,
            about="Whether Prometheus gets an answer from the daemon.",
            width=12,
        ),
        number(
            2,
            "Restarts within an hour",
            "none",
            Query(f"changes(process_start_time_seconds{{{ours}}}[1h])", here),
            about="Starts after the first one that Prometheus saw.",
            steps=((None, "green"), (1, "yellow"), (3, "red")),
        ),
        number(
            3,
            "Running for",
            "s",
            Query(f"time() - process_start_time_seconds{{{ours}}}", here),
            about="Since the daemon was started.",
        ),
        lines(
            4,
            "Processor",
            "none",
            Query(f"rate(process_cpu_seconds_total{{{ours}}}[$__rate_interval])", "{{instance}} main"),
            Query(rate("camera", "camera_process_cpu_seconds_total"), "capture of {{camera}}"),
            about="Cores used by the main process and by each capture process.",
        ),
        lines(
            5,
            "Memory",
            "bytes",
            Query(f"process_resident_memory_bytes{{{ours}}}", "{{instance}} main"),
            Query(f"defect_monitor_camera_process_resident_memory_bytes{{{SHOWN}}}", "capture of {{camera}}"),
            about="Resident memory of each process. It should be constant after the first minutes.",
        ),
        lines(
            6,
            "Open files",
            "none",
            Query(f"process_open_fds{{{ours}}}", "{{instance}} open"),
            about="A number that only rises will reach the limit.",
        ),
        facts(
            7,
            "Versions and devices",
            Query(f"defect_monitor_build_info{{{_HERE}}}"),
            Query(f"defect_monitor_model_info{{{_HERE}}}"),
            about="Version of the program, its network and its device.",
        ),
        lines(
            8,
            "Machine: processor",
            "percentunit",
            Query(
                '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$__rate_interval]))', here
            ),
            about="Busy share of all cores. This panel and those below come from the node exporter.",
            top=1,
        ),
        lines(
            9,
            "Machine: memory",
            "bytes",
            Query("node_memory_MemAvailable_bytes", "{{instance}} available"),
            Query("node_memory_MemTotal_bytes", "{{instance}} total"),
            about="Memory that programs can still allocate.",
        ),
        lines(
            10,
            "Machine: disks",
            "percentunit",
            Query(f"min by (instance, mountpoint) ({free})", "{{instance}} {{mountpoint}}"),
            about="Free share of each file system. The outbox and the log need space.",
            top=1,
        ),
        lines(
            11,
            "Machine: network",
            "Bps",
            Query(f"sum by (instance, device) ({received})", "{{instance}} {{device}}"),
            about="Received bytes a second, which include network cameras.",
        ),
        states(
            12,
            "Standby",
            Query(f"defect_monitor_standby{{{_HERE}}}", here),
            {0: ("inspects", "green"), 1: ("standby", "blue")},
            about="Whether the daemon waits for another one that inspects the same cameras.",
            width=12,
        ),
        states(
            13,
            "Last reload",
            Query(f"defect_monitor_last_reload_succeeded{{{_HERE}}}", here),
            {0: ("failed", "red"), 1: ("succeeded", "green")},
            about="Whether the settings in force are those that were last to be read.",
            width=12,
        ),
    ]
