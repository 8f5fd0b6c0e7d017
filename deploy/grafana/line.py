"""The line at a glance, and where its time goes."""

from deploy.grafana.panels import Panel, Query, density, lines, number, states

SHOWN = 'instance=~"$instance",camera=~"$camera"'
"""The series of what is chosen at the top of a dashboard."""

DEFECT, UNUSABLE = f'{SHOWN},outcome="defect"', f'{SHOWN},outcome="unusable"'

_STATES = {
    1: ("up", "green"),
    2: ("starting", "blue"),
    3: ("stalled", "orange"),
    4: ("frozen", "purple"),
    5: ("down", "red"),
    6: ("ended", "text"),
}
"""A camera's states: a number to draw each by, and its colour."""


def rate(by: str, metric: str, where: str = SHOWN) -> str:
    """Steps a second of a counter of ours, summed over all but the labels `by`."""
    return f"sum by ({by}) (rate(defect_monitor_{metric}{{{where}}}[$__rate_interval]))"


def histogram(metric: str, where: str = SHOWN) -> Query:
    """Observations by bucket, for a heat map."""
    expr = f"sum by (le) (increase(defect_monitor_{metric}_bucket{{{where}}}[$__rate_interval]))"
    return Query(expr, "{{le}}")


def quantiles(metric: str, *which: str) -> list[Query]:
    """Recorded quantiles of a latency, `p50`, `p95` or `p99`, by camera."""
    return [
        Query(f"camera:defect_monitor_{metric}:{name}_5m{{{SHOWN}}}", f"{{{{camera}}}} {name}")
        for name in which
    ]


def acknowledged(number: int, *which: str) -> Panel:
    """How long it takes until Redis has an event."""
    return lines(
        number,
        "Capture to acknowledgement",
        "s",
        *quantiles("event_seconds", *which),
        about="From the capture of a flagged frame until Redis has its event.",
    )


def line() -> list[Panel]:
    """Are all cameras up, is everything inspected, what is found, in time?"""
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
            Query(f"count(defect_monitor_camera_up{{{SHOWN}}})", "in all"),
            about="Cameras that deliver frames, of those in the settings.",
        ),
        number(
            2,
            "Least inspected camera",
            "percentunit",
            Query(f"min(camera:defect_monitor_coverage:ratio_rate5m{{{SHOWN}}})", "inspected"),
            about="Coverage of the camera that has least of it, over five minutes.",
            steps=((None, "red"), (0.9, "yellow"), (0.99, "green")),
        ),
        number(
            3,
            "Alerts firing",
            "none",
            Query('count(ALERTS{alertname=~"DefectMonitor.+",alertstate="firing"}) or vector(0)', "firing"),
            about="Prometheus' page Alerts says which; each one links to its panel and its runbook entry.",
            steps=((None, "green"), (1, "red")),
        ),
        number(
            4,
            "Since the last frame",
            "s",
            Query(f"max(time() - defect_monitor_last_frame_timestamp_seconds{{{SHOWN}}})", "ago"),
            about="Age of the latest frame of the camera that has been silent longest.",
            steps=((None, "green"), (5, "yellow"), (30, "red")),
        ),
        states(
            5,
            "Cameras",
            Query(f"sum by (instance, camera) ({by_number})"),
            _STATES,
            about="What each camera is doing. Only while it is up, its frames are inspected.",
        ),
        lines(
            6,
            "Inspected",
            "percentunit",
            Query(f"camera:defect_monitor_coverage:ratio_rate5m{{{SHOWN}}}"),
            Query("defect_monitor:coverage_target:ratio", "target"),
            about="Share of captured frames that is inspected, times the share of time with frames.",
            top=1,
        ),
        lines(
            7,
            "Defects a minute",
            "none",
            Query(f"60 * {rate('instance, camera', 'frames_total', DEFECT)}"),
            about="Flagged frames; one defect may show in several.",
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
            about="Capture to verdict. Where p99 stays above the frame period, frames wait.",
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
            about="Frames that came but were not judged. What never came is in the panel Inspected.",
        ),
        lines(
            12,
            "Opened anew",
            "none",
            Query(
                f"sum by (camera, cause) ({reopened}) > 0 or sum by (camera) ({reopened})",
                "{{camera}} {{cause}}",
            ),
            about="How often each camera was opened anew within ten minutes, in all and by cause.",
        ),
        lines(
            13,
            "Names that another daemon has",
            "none",
            Query(f"defect_monitor_camera_name_clash{{{SHOWN}}}"),
            about="1 while another daemon on the same Redis watches a camera of this name.",
        ),
    ]


def latency() -> list[Panel]:
    """From capture to verdict, from capture to Redis, and each stage between."""
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
            about="How many frames took how long in the stage that is chosen above.",
        ),
        lines(
            3,
            "Median by stage",
            "s",
            Query(f"stage:defect_monitor_stage_seconds:p50_5m{{{SHOWN}}}", "{{camera}} {{stage}}"),
            about="Half took longer. Only flagged frames go through explain and what follows.",
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
            "Seconds of work a second, by stage",
            "none",
            Query(
                rate("stage", "stage_seconds_sum"),
                "{{stage}}",
            ),
            about="Capture and queue are waiting; each frame of a batch counts the batch's time.",
            stacked=True,
        ),
        acknowledged(6, "p50", "p95", "p99"),
    ]
