"""What a daemon with an outbox on disk found outlives it."""

import json
import re
import signal
import time
from pathlib import Path

import redis

from monitor.tools.demo.embedded_redis import embedded_server
from tests.support.daemon_process import (
    events_of,
    free_port,
    logged_events,
    run_daemon,
    wait_for,
    write_config,
)

SIMULATED = '[[camera]]\nname = "c"\nsource = "simulate:?seed=5&defect_rate=0.3"\nfps = 10\n'


FLAGGED = 'defect_monitor_frames_total{camera="c",outcome="defect"}'


def incidents_of(url: str) -> list[dict[str, str]]:
    """All entries of the stream of incidents."""
    with redis.Redis.from_url(url, protocol=2) as client:
        return [json.loads(fields[b"incident"]) for _, fields in client.xrange("defects:incidents")]


def test_what_waits_at_a_kill_or_a_stop_goes_out_after_the_restart_in_order(
    tmp_path: Path, flag_all: str
) -> None:
    port, away = free_port(), free_port()
    more = f'{flag_all}[outbox]\npath = "{tmp_path}/state/outbox.db"\n'
    config = write_config(tmp_path, SIMULATED, url=f"redis://127.0.0.1:{away}/0", port=port, more=more)
    said: list[str] = []
    for end, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)):
        with run_daemon(config, port) as daemon:
            daemon.ready()
            wait_for(lambda: daemon.metric(FLAGGED) >= 3, 60, daemon)
            assert daemon.metric("defect_monitor_outbox_durable") == 1
            daemon.process.send_signal(end)
            assert daemon.process.wait(15) == code
            log = daemon.log.read_text()
            said += logged_events(log)
    assert re.search(r"stay in the outbox file until the next start messages=", log)
    with embedded_server(away) as served, run_daemon(config, port) as daemon:
        daemon.ready()
        wait_for(lambda: {event["id"] for event in events_of(served)} >= set(said), 60, daemon)
        wait_for(lambda: daemon.metric(FLAGGED) >= 1, 60, daemon)
        # The killed run's incidents end, although no run was there to see them end.
        wanted = {event["incident"]["id"] for event in events_of(served)[: len(said)]}
        wait_for(
            lambda: {it["id"] for it in incidents_of(served) if it["phase"] == "end"} >= wanted, 60, daemon
        )
        assert daemon.stop(15) == 0
        events = [event["id"] for event in events_of(served)]
        incidents = incidents_of(served)
    assert events[: len(said)] == said
    assert len(set(events)) == len(events)
    told = [(it["id"], it["phase"]) for it in incidents]
    assert len(set(told)) == len(told)
    assert {(identity, "start") for identity in wanted} <= set(told)


def test_an_outbox_that_cannot_be_opened_is_said_and_the_daemon_goes_on(
    tmp_path: Path, valkey: str, flag_all: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    port = free_port()
    more = f'{flag_all}[outbox]\npath = "{tmp_path}/file/outbox.db"\n'
    config = write_config(tmp_path, SIMULATED, url=valkey, port=port, more=more)
    with run_daemon(config, port) as daemon:
        assert any("outbox" in line for line in daemon.ready()["degraded"])
        assert daemon.metric("defect_monitor_outbox_durable") == 0
        wait_for(lambda: len(events_of(valkey)) >= 1, 60, daemon)
        time.sleep(0.2)
        assert daemon.stop() == 0
    assert "held in memory" in daemon.log.read_text()
