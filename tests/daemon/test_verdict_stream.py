"""The verdict stream of a real daemon, which is killed and started again."""

import os
from datetime import datetime
from itertools import islice
from pathlib import Path

import cv2
import redis

from monitor.events.verdicts import FrameVerdict, VerdictBatch
from monitor.redis_streams.subscriber import Subscriber
from monitor.simulate.surface import SurfaceGenerator
from tests.support.daemon_process import DaemonUnderTest, events_of, run_daemon, wait_for, write_config

LIVE = '[[camera]]\nname = "live"\nsource = "simulate:?seed=5&defect_rate=0.3"\nfps = 4\nthreshold = 0.01\n'


def batches_of(url: str) -> list[VerdictBatch]:
    """All batches in the stream, as a subscriber reads them."""
    with redis.Redis.from_url(url, protocol=2) as client:
        count = client.xlen("defects:verdicts")
    with Subscriber(url, interval=0.05) as subscriber:
        return list(islice(subscriber.verdicts("0"), count))


def numbers_of(verdict: FrameVerdict) -> range:
    last = verdict.frame_number if verdict.last_number is None else verdict.last_number
    return range(verdict.frame_number, last + 1)


def make_folder(folder: Path) -> list[str]:
    """Four files, of which one is no image and one has a name that is no UTF-8; return the names."""
    folder.mkdir()
    surface = SurfaceGenerator(seed=1, textures=1)
    for number in (0, 1):
        cv2.imwrite(str(folder / f"{number}.png"), surface.picture(number))
    (folder / "2.png").write_bytes(b"no image")
    (folder / "1.png").rename(folder / os.fsdecode(b"3-gr\xfcn.png"))
    return ["0.png", "2.png", "3-gr\\xfcn.png"]


def test_it_accounts_for_every_frame_of_every_run(
    tmp_path: Path, valkey: str, port: int, small_model: str
) -> None:
    names = make_folder(tmp_path / "files")
    cameras = f'[[camera]]\nname = "folder"\nsource = "{tmp_path}/files"\n{LIVE}'
    more = f'{small_model}[outbox]\npath = "{tmp_path}/outbox.db"\n[verdicts]\npublish = true\n'
    config = write_config(tmp_path, cameras, url=valkey, port=port, more=more)

    def live_batches(run_count: int, daemon: DaemonUnderTest) -> None:
        """Wait for some batches of the newest run."""

        def enough() -> bool:
            batches = batches_of(valkey)
            runs = list(dict.fromkeys(batch.run for batch in batches))
            newest = [one for one in batches if one.verdicts and (one.run, one.camera) == (runs[-1], "live")]
            return len(runs) == run_count and len(newest) >= 3 and bool(events_of(valkey))

        wait_for(enough, 90, daemon)

    with run_daemon(config, port) as daemon:
        live_batches(1, daemon)
        daemon.process.kill()
        daemon.process.wait()
    with run_daemon(config, port) as daemon:
        live_batches(2, daemon)
        assert daemon.stop() == 0

    batches = batches_of(valkey)
    killed, stopped = dict.fromkeys(batch.run for batch in batches)
    for run, end in ((killed, "killed"), (stopped, "stopped")):
        for camera in ("folder", "live"):
            own = [batch for batch in batches if (batch.run, batch.camera) == (run, camera)]
            assert [batch.end for batch in own] == [*[None] * (len(own) - 1), end]
            verdicts = [verdict for batch in own for verdict in batch.verdicts]
            assert [n for verdict in verdicts for n in numbers_of(verdict)] == list(range(own[-1].next))
            assert not [verdict for verdict in verdicts if verdict.outcome == "unreported"]
            assert all((verdict.score is None) == (verdict.cause is not None) for verdict in verdicts)
            if camera == "folder":
                assert [verdict.source_name for verdict in verdicts] == names
                assert [verdict.outcome for verdict in verdicts] == ["clean", "unusable", "clean"]
                assert [verdict.cause for verdict in verdicts] == [None, "unreadable", None]
    flagged = {
        (batch.camera, verdict.captured_at)
        for batch in batches
        if batch.run == stopped
        for verdict in batch.verdicts
        if verdict.outcome == "defect"
    }
    began = min(
        verdict.captured_at
        for batch in batches
        if batch.run == stopped
        for verdict in batch.verdicts
        if verdict.captured_at is not None
    )
    events = {
        (event["camera"], captured_at)
        for event in events_of(valkey)
        if (captured_at := datetime.fromisoformat(event["captured_at"])) >= began
    }
    assert events == flagged, "in a run that was stopped in order each `defect` has its event"
