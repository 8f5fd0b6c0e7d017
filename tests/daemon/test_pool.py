"""Daemons whose frames a pool classifies, which dies and comes back: each frame has one judge or one gap."""

from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from monitor.models.bundle import ModelBundle
from tests.support.daemon_process import (
    DaemonUnderTest,
    events_of,
    free_port,
    gaps_of,
    run_daemon,
    wait_for,
    write_config,
)
from tests.support.pool_server import serve_in_process

CAMERA = """fallback = "{fallback}"
pool = "http://127.0.0.1:{pool}"
pool_deadline = 2
[explain]
enabled = false
{model}
[[camera]]
name = "{fallback}"
source = "simulate:?seed=5&size=256x256"
fps = 5
frames = "every"
"""


def wait_for_more(daemons: list[DaemonUnderTest], outcome: str) -> None:
    """Wait until the pool has treated three more batches of each daemon so."""
    name = f'defect_monitor_pool_batches_total{{outcome="{outcome}"}}'
    before = [daemon.metric(name) for daemon in daemons]
    for daemon, count in zip(daemons, before, strict=True):
        wait_for(lambda daemon=daemon, count=count: daemon.metric(name) >= count + 3, 120, daemon)


def test_each_frame_has_one_judge_while_the_pool_dies_and_comes_back(
    tmp_path: Path, valkey: str, flag_all: str, small_bundle: ModelBundle
) -> None:
    address = free_port()
    with ExitStack() as stack:
        pool = stack.enter_context(serve_in_process(address, small_bundle.path))
        daemons = []
        for fallback in ("local", "gap"):
            (tmp_path / fallback).mkdir()
            camera = CAMERA.format(fallback=fallback, pool=address, model=flag_all)
            port = free_port()
            config = write_config(tmp_path / fallback, camera, url=valkey, port=port)
            daemons.append(stack.enter_context(run_daemon(config, port)))
        for daemon in daemons:
            daemon.ready()
        wait_for_more(daemons, "answered")
        pool.kill()
        wait_for_more(daemons, "away")
        assert "the pool cannot be reached" in daemons[0].get("/readyz")[1]
        stack.enter_context(serve_in_process(address, small_bundle.path))
        wait_for_more(daemons, "answered")
        assert "pool" not in daemons[0].get("/readyz")[1]
        assert [daemon.stop(60) for daemon in daemons] == [0, 0]
    events = events_of(valkey)
    assert {event["model"]["sha256"] for event in events} == {small_bundle.card.model.sha256}
    scores = {fallback: {} for fallback in ("local", "gap")}
    for event in events:
        assert event["frame_number"] not in scores[event["camera"]]
        scores[event["camera"]][event["frame_number"]] = event["score"]
    assert not [gap for gap in gaps_of(valkey, "local") if gap.frames]
    assert sorted(scores["local"]) == list(range(len(scores["local"])))
    gaps = [gap for gap in gaps_of(valkey, "gap") if gap.frames]
    assert {gap.cause for gap in gaps} == {"pool-away"}
    missed = [number for gap in gaps for number in range(gap.first, gap.last + 1)]
    assert sorted([*missed, *scores["gap"]]) == list(range(len(missed) + len(scores["gap"])))
    # The same frame has the same score, whether the pool judged it or this machine.
    both = scores["local"].keys() & scores["gap"].keys()
    assert [scores["local"][it] for it in both] == pytest.approx([scores["gap"][it] for it in both], abs=1e-4)
