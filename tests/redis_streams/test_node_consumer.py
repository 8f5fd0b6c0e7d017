"""A consumer in another language, with nothing but Redis and the shipped schemas, reads a running daemon."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import redis

from monitor.simulate.surface import SurfaceGenerator
from tests.support import ROOT
from tests.support.daemon_process import events_of, run_daemon, wait_for, write_config

CONSUMER = Path(__file__).parent / "consumer"

Consume = Callable[[str, int, int], tuple[int, dict[str, Any]]]


@pytest.fixture
def consume() -> Consume:
    """Run the consumer at a URL for so many seconds, or to so many entries of each stream."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed (Debian: nodejs)")
    if not (CONSUMER / "node_modules").exists():
        pytest.skip("the consumer's packages are not installed: npm ci, in tests/redis_streams/consumer")

    def run(url: str, seconds: int, entries: int) -> tuple[int, dict[str, Any]]:
        command = [node, "consumer.mjs", url, str(ROOT / "monitor/events"), str(seconds), str(entries)]
        done = subprocess.run(command, cwd=CONSUMER, capture_output=True, text=True, check=False, timeout=120)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    return run


def test_it_finds_every_entry_valid_and_refuses_broken_ones(
    tmp_path: Path, valkey: str, port: int, consume: Consume, small_model: str
) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "0.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "files" / "1.png"), SurfaceGenerator(seed=1, textures=1).picture(1))
    cameras = (
        '[[camera]]\nname = "live"\nsource = "simulate:?seed=5&defect_rate=0.5"\nfps = 4\nthreshold = 0.01\n'
        f'[[camera]]\nname = "folder"\nsource = "{tmp_path}/files"\n'
    )
    config = write_config(
        tmp_path, cameras, url=valkey, port=port, more=small_model + "[verdicts]\npublish = true"
    )
    with run_daemon(config, port) as daemon:
        wait_for(lambda: bool(events_of(valkey)), 90, daemon)
        code, found = consume(valkey, 60, 3)
        assert (code, found["invalid"]) == (0, [])
        assert all(count >= 3 for count in found["valid"].values()), found
        assert found["kinds"].keys() >= {"gap", "camera"}
        assert found["outcomes"]["clean"] > 0
        assert found["outcomes"]["defect"] > 0
        assert found["outcomes"]["unusable"] == 1

    with redis.Redis.from_url(valkey, protocol=2, decode_responses=True) as client:
        event = events_of(valkey)[0]
        broken = {
            client.xadd("defects:events", {"event": json.dumps(event | {"score": 2})}),
            client.xadd("defects:events", {"event": "no JSON"}),
            client.xadd("defects:coverage", {"kind": "gap", "camera": "live"}),
            client.xadd("defects:verdicts", {"verdicts": json.dumps({"version": 1, "camera": "live"})}),
        }
    code, found = consume(valkey, 3, 1_000_000)
    assert code == 1
    assert {entry["id"] for entry in found["invalid"]} == broken
