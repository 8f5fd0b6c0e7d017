"""A minute of RTSP: real images as H.264, judged by the daemon, boxes held against the true ellipses.

Prints the figures that the documentation quotes. `make soak` runs it; it is too long for every test run.
"""

import json
import time
from pathlib import Path
from statistics import median

import cv2
import jsonschema
import numpy as np
import pytest
import redis

from tests.support.daemon_process import (
    FOLDER,
    IN_FULL,
    SCHEMA,
    coverage_of,
    defects_of,
    events_of,
    overlap,
    run_daemon,
    write_config,
)
from tests.support.rtsp_server import RtspServer, why_absent

pytestmark = pytest.mark.soak
FPS, SECONDS = 10, 60


def matches(event: dict[str, object], masks: dict[int, Path]) -> tuple[float, float]:
    """Best overlap of the event's strongest box with an ellipse's box, and its share inside that box."""
    (region, *_) = event["regions"]  # type: ignore[misc]  # parsed JSON
    best = max(masks.values(), key=lambda mask: overlap(region, mask))
    left, top, width, height = cv2.boundingRect(cv2.imread(str(best), cv2.IMREAD_GRAYSCALE))
    across = min(region["x"] + region["width"], left + width) - max(region["x"], left)
    down = min(region["y"] + region["height"], top + height) - max(region["y"], top)
    return overlap(region, best), max(across, 0) * max(down, 0) / (region["width"] * region["height"])


def test_a_minute_of_a_real_stream(tmp_path: Path, valkey: str, dagm_root: Path) -> None:
    if reason := why_absent():
        pytest.skip(reason)
    split = dagm_root / "Class1" / "Test"
    masks = defects_of(split)
    with RtspServer(split, fps=FPS) as server:
        config = write_config(tmp_path, FOLDER.format(server.url) + IN_FULL, url=valkey, port=9465)
        with run_daemon(config, 9465) as daemon:
            daemon.ready()
            time.sleep(SECONDS)
            frames = {
                outcome: int(
                    daemon.metric(f'defect_monitor_frames_total{{camera="line",outcome="{outcome}"}}')
                )
                for outcome in ("clean", "defect", "unusable", "dropped")
            }
            assert daemon.stop() == 0
    events = events_of(valkey)
    with redis.Redis.from_url(valkey) as client:
        for event in events:
            jsonschema.validate(event, SCHEMA, format_checker=jsonschema.FormatChecker())
            jpeg = client.get(event["image"]["frame_key"])
            assert isinstance(jpeg, bytes)
            assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
    held = [matches(event, masks) for event in events if event["regions"]]
    figures = {
        "frames": frames,
        "events": len(events),
        "localised": len(held),
        "IoU with the ellipse's box": {"median": median(iou for iou, _ in held), "least": min(held)[0]},
        "share of the box inside the ellipse's box": {
            "median": median(share for _, share in held),
            "least": min(share for _, share in held),
        },
        "share of defective frames expected": len(masks) / 100,
        "gaps": len([entry for entry in coverage_of(valkey) if entry["kind"] == "gap"]),
    }
    print(json.dumps(figures, indent=2))
    assert len(held) == len(events) > 0
    assert min(held)[0] >= 0.3
