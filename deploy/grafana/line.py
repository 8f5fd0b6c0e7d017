"""Dashboards of the line and of its latency by stage."""

from deploy.grafana.panels import Panel, Query, density, lines, number, states

SHOWN = 'instance=~"$instance",camera=~"$camera"'
"""Selects the series of the daemons and cameras chosen at the top of a dashboard."""

DEFECT, UNUSABLE = f'{SHOWN},outcome="defect"', f'{SHOWN},outcome="unusable"'

_STATES = {
    1: ("up", "green"),
    2: ("starting", "blue"),
    3: ("stalled", "orange"),
    4: ("frozen", "purple"),
    5: ("down", "red"),
    6: ("ended", "text"),
    7: ("misconfigured", "yellow"),
    8: ("paused", "light-blue"),
}
"""The camera states: a number for each, its name and its colour."""


def rate(by: str, metric: str, where: str = SHOWN) -> str:
    """Return the rate per second of a counter of the daemon, summed over all labels but `by`."""
    return f"sum by ({by}) (rate(defect_monitor_{metric}{{{where}}}[$__rate_interval]))"


def histogram(metric: str, where: str = SHOWN) -> Query:
    """Return observations by bucket, for a heat map."""
    expr = f"sum by (le) (increase(defect_monitor_{metric}_bucket{{{where}}}[$__rate_interval]))"
    return Query(expr, "{{le}}")


def quantiles(metric: str, *which: str) -> list[Query]:
    """Return recorded quantiles of a latency by camera: `p50`, `p95` or `p99`."""
    return [
        Query(f"camera:defect_monitor_{metric}:{name}_5m{{{SHOWN}}}", f"{{{{camera}}}} {name}")
        for name in which
    ]


def acknowledged(number: int, *which: str) -> Panel:
    """Draw the time from capture until Redis has acknowledged the event."""
    return lines(
        number,
        "Capture to acknowledgement",
        "s",
        *quantiles("event_seconds", *which),
        about="From the capture of a flagged frame until Redis has acknowledged its event.",
    )


def line() -> list[Panel]:
    """Return the panels of the dashboard Line: camera states, coverage, defects and verdict latency."""
    by_number = " or ".join(
        f'{number} * defect_monitor_camera_state{{{SHOWN},state="{state}"}}'
        for number, (state, _) in _STATES.items()
    )
    reopened = f"increase(defect_monitor_camera_reconnects_total{{{SHOWN}}}[10m])"
    return [
        number(
            1,
            "Cameras up",
            "none",
            Query(f"sum(defect_monitor_camera_up{{{SHOWN}}})", "up"),
            Query(f"count(defect_monitor_camera_up{{{SHOWN}}})", "configured"),
            about="Cameras that deliver frames, and cameras in the settings.",
        ),
        number(
            2,
            "Lowest coverage",
            "percentunit",
            Query(f"min(camera:defect_monitor_coverage:ratio_rate5m{{{SHOWN}}})", "inspected"),
            about="Coverage of the camera with the lowest coverage, over five minutes.",
            steps=((None, "red"), (0.9, "yellow"), (0.99, "green")),
        ),
        number(
            3,
            "Alerts firing",
            "none",
            Query('count(ALERTS{alertname=~"DefectMonitor.+",alertstate="firing"}) or vector(0)', "firing"),
            about="Prometheus lists them on its page Alerts. Each links to its panel and its runbook entry.",
            steps=((None, "green"), (1, "red")),
        ),
        number(
            4,
            "Time since the last frame",
            "s",
            Query(f"max(time() - defect_monitor_last_frame_timestamp_seconds{{{SHOWN}}})", "ago"),
            about="For the camera that has been silent longest.",
            steps=((None, "green"), (5, "yellow"), (30, "red")),
        ),
        states(
            5,
            "Cameras",
            Query(f"sum by (instance, camera) ({by_number})"),
            _STATES,
            about="State of each camera. Frames are inspected only while it is up.",
        ),
        lines(
            6,
            "Inspected",
            "percentunit",
            Query(f"camera:defect_monitor_coverage:ratio_rate5m{{{SHOWN}}}"),
            Query("defect_monitor:coverage_target:ratio", "target"),
            about="Share of captured frames that was inspected, times the share of time with frames.",
            top=1,
        ),
        lines(
            7,
            "Defects a minute",
            "none",
            Query(f"60 * {rate('instance, camera', 'frames_total', DEFECT)}"),
            about="Flagged frames. One defect may appear in several frames.",
        ),
        lines(
            8,
            "Share of frames flagged",
            "percentunit",
            Query(f"camera:defect_monitor_defects:ratio_rate5m{{{SHOWN}}}"),
            about="Flagged frames among those inspected, over five minutes.",
        ),
        lines(
            9,
            "Verdict against the frame period",
            "s",
            *quantiles("verdict_seconds", "p50", "p99"),
            Query(f"camera:defect_monitor_frame_period_seconds:1m{{{SHOWN}}}", "{{camera}} frame period"),
            about="Capture to verdict. While p99 is above the frame period, frames queue up.",
        ),
        lines(
            10,
            "Frames a second by outcome",
            "none",
            Query(
                rate("outcome", "frames_total"),
                "{{outcome}}",
            ),
            about="Each frame ends as exactly one of these.",
            stacked=True,
        ),
        lines(
            11,
            "Not inspected a minute, by cause",
            "none",
            Query(
                f"60 * {rate('camera, cause', 'dropped_frames_total')}",
                "{{camera}} {{cause}}",
            ),
            Query(
                f"60 * {rate('instance, camera', 'frames_total', UNUSABLE)}",
                "{{camera}} unusable",
            ),
            about="Captured but not classified. Frames that never came lower the panel Inspected.",
        ),
        lines(
            12,
            "Reopened",
            "none",
            Query(
                f"sum by (camera, cause) ({reopened}) > 0 or sum by (camera) ({reopened})",
                "{{camera}} {{cause}}",
            ),
            about="How often each camera was reopened within ten minutes, in total and by cause.",
        ),
        lines(
            13,
            "Camera names used by another daemon",
            "none",
            Query(f"defect_monitor_camera_name_clash{{{SHOWN}}}"),
            about="1 while another daemon on the same Redis watches a camera of this name.",
        ),
    ]


def latency() -> list[Panel]:
    """Return the panels of the dashboard Latency by stage."""
    return [
        density(
            1,
            "Capture to verdict",
            "s",
            histogram("verdict_seconds"),
            about="How many frames took how long.",
        ),
        density(
            2,
            "Stage: $stage",
            "s",
            histogram("stage_seconds", f'{SHOWN},stage=~"$stage"'),
            about="How many frames took how long in the stage chosen at the top.",
        ),
        lines(
            3,
            "Median by stage",
            "s",
            Query(f"stage:defect_monitor_stage_seconds:p50_5m{{{SHOWN}}}", "{{camera}} {{stage}}"),
            about="Half of the frames took longer. Only flagged frames pass wait and later stages.",
        ),
        lines(
            4,
            "99th percentile by stage",
            "s",
            Query(f"stage:defect_monitor_stage_seconds:p99_5m{{{SHOWN}}}", "{{camera}} {{stage}}"),
            about="One frame in a hundred took longer.",
        ),
        lines(
            5,
            "Seconds spent per second, by stage",
            "none",
            Query(
                rate("stage", "stage_seconds_sum"),
                "{{stage}}",
            ),
            about="In capture, queue and wait, frames only wait. Each frame of a batch counts it whole.",
            stacked=True,
        ),
        acknowledged(6, "p50", "p95", "p99"),
    ]
