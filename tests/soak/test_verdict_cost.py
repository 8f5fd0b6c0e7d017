"""What a verdict for every frame costs, with the real outbox, disk and Redis.

`pytest -m soak -s tests/soak/test_verdict_cost.py` prints the figures of monitor/events/README.md.
"""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.daemon.verdicts import VerdictRecorder
from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from monitor.events.verdicts import VerdictBatch
from monitor.records import Frame, Verdict
from monitor.telemetry.metrics import Metrics, create_registry
from tests.support.events import make_finding

CAMERAS = [f"camera-{index}" for index in range(8)]
FPS, SECONDS = 30, 30


@pytest.mark.soak
def test_eight_cameras_at_thirty_frames_a_second(tmp_path: Path, valkey: str, client: Any) -> None:
    sink = RedisSink(valkey, verdicts_maxlen=10_000)
    queue = OutboxQueue([sink.name], storage=SqliteStorage(tmp_path / "outbox.db", sync="power"))
    outbox = Outbox(queue, [SinkSender(sink, queue)])
    recorder = VerdictRecorder(outbox, "line1", Metrics(create_registry()))
    outbox.start()
    recorder.start(CAMERAS)
    over = threading.Event()

    def flush() -> None:
        while not over.wait(0.1):
            recorder.flush()

    main_loop = threading.Thread(target=flush)
    main_loop.start()
    template = make_finding().frame
    calls, began, used = 0.0, time.monotonic(), time.process_time()
    for number in range(FPS * SECONDS):
        for camera in CAMERAS:
            frame = Frame(
                camera,
                number,
                datetime.now(UTC),
                time.monotonic(),
                *(template.image, template.tile_boxes, template.tile_inputs),
            )
            call = time.perf_counter()
            recorder.on_verdict(frame, Verdict("clean", 0.0312, 0.5))
            calls += time.perf_counter() - call
        time.sleep(max(0.0, began + (number + 1) / FPS - time.monotonic()))
    over.set()
    main_loop.join()
    recorder.finish(dict.fromkeys(CAMERAS, FPS * SECONDS))
    assert outbox.flush(30) == 0
    took, used = time.monotonic() - began, time.process_time() - used
    outbox.close()

    batches = [
        VerdictBatch.model_validate_json(fields[b"verdicts"])
        for _, fields in client.xrange("defects:verdicts")
    ]
    frames = sum(len(batch.verdicts) for batch in batches)
    assert frames == len(CAMERAS) * FPS * SECONDS
    memory = client.memory_usage("defects:verdicts", samples=0)
    print(
        f"\n{frames} verdicts in {took:.1f} s and {len(batches)} entries: {100 * used / took:.1f} % of one "
        f"core, {1e6 * calls / frames:.1f} µs in the thread that classifies, "
        f"{memory / frames:.0f} bytes of Redis each"
    )
