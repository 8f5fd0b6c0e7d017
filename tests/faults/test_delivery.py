"""No event is lost and none comes twice, whatever happens to Redis, the wire, the daemon and its disk."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_producer import DURABLE_REDIS, Line, Times, outbox_on_disk
from tests.support.events import DeliveryTally, make_message, outcome
from tests.support.fault_proxy import ReplyCuttingProxy
from tests.support.fault_tables import Record
from tests.support.redis_servers import EMBEDDED, SERVERS, server_program, wait_until
from tests.support.sqlite_faults import check_cuts


def delivered_after(
    make_server: Callable[..., Any],
    path: Path,
    fault: Callable[[Any], None],
    *options: str,
    rate: float = 100,
) -> DeliveryTally:
    """A steady line, the fault under it, and the count once all that waits is out."""
    server = make_server(*options)
    with outbox_on_disk(path, server.url) as outbox:
        with Line(outbox, rate) as line:
            fault(server)
            time.sleep(0.2)
        assert outbox.flush(60) == 0
    with server.client() as client:
        return outcome(client, line.found)


@pytest.mark.parametrize("program", SERVERS, indirect=True)
def test_redis_killed_and_started_again(
    make_server: Callable[..., Any], path: Path, times: Times, record: Record, program: Path
) -> None:
    count, pick = times(3, 50) if program == server_program(EMBEDDED) else times(1, 10), random.Random(1)
    names: set[str] = set()

    def fault(server: Any) -> None:
        names.add(server.name())
        for _ in range(count):
            time.sleep(pick.uniform(0.05, 0.3))
            server.stop()  # SIGKILL
            server.start()

    seen = delivered_after(make_server, path, fault, *DURABLE_REDIS)
    record(f"{names.pop()} killed (-9) and started again {count} times under load", seen)
    assert seen.flawless, seen


def test_redis_paused(make_server: Callable[..., Any], path: Path, times: Times, record: Record) -> None:
    seconds = times(2, 30)

    def fault(server: Any) -> None:
        server.signal(signal.SIGSTOP)
        time.sleep(seconds)
        server.signal(signal.SIGCONT)

    seen = delivered_after(make_server, path, fault)
    record(f"Redis paused for {seconds} s", seen)
    assert seen.flawless, seen


def test_redis_out_of_memory(
    make_server: Callable[..., Any], path: Path, times: Times, record: Record
) -> None:
    def fault(server: Any) -> None:
        with server.client() as client:
            client.config_set("maxmemory", "3mb")
            time.sleep(times(2, 10))
            assert client.info("memory")["used_memory"] > 2_000_000
            client.config_set("maxmemory", 0)

    seen = delivered_after(make_server, path, fault)
    record("`maxmemory` reached (`noeviction`), then raised; images are dropped first", seen)
    assert (seen.lost, seen.doubled, seen.ordered) == (0, 0, True), seen
    assert seen.pictures < seen.found, "images are dropped before events"


def test_an_outage(make_server: Callable[..., Any], path: Path, times: Times, record: Record) -> None:
    seconds = times(2, 600)

    def fault(server: Any) -> None:
        server.stop()
        time.sleep(seconds)
        server.start()

    seen = delivered_after(make_server, path, fault, *DURABLE_REDIS, rate=5)
    record(f"Redis gone for {seconds} s at 5 events a second", seen)
    assert seen.flawless, seen


def test_a_password_changed_and_changed_back(
    make_server: Callable[..., Any], path: Path, times: Times, record: Record
) -> None:
    def fault(server: Any) -> None:
        with server.client() as client:
            time.sleep(0.2)
            client.config_set("requirepass", "another")
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(times(1, 5))
            client.config_set("requirepass", "")

    seen = delivered_after(make_server, path, fault)
    record("password changed, then changed back", seen)
    assert seen.flawless, seen


def test_everything_flushed(make_server: Callable[..., Any], path: Path, record: Record) -> None:
    """What Redis had and was made to forget is forgotten; what came after is there."""
    server = make_server()
    with outbox_on_disk(path, server.url) as outbox, server.client() as client:
        with Line(outbox, 100) as line:
            time.sleep(0.5)
        assert outbox.flush(20) == 0
        client.flushall()
        with Line(outbox, 100) as after:
            time.sleep(0.5)
        assert outbox.flush(20) == 0
        seen = outcome(client, after.found)
        assert client.xlen("defects:events") == len(after.found)
    assert line.found
    record("`FLUSHALL` (counted: events found after it)", seen)
    assert seen.flawless, seen


def test_the_connection_cut_before_the_answer(
    make_server: Callable[..., Any], path: Path, times: Times, record: Record
) -> None:
    wanted = times(20, 200)
    server = make_server()
    turn = Counter[str]()

    def every_other() -> bool:
        turn["calls"] += 1
        return turn["calls"] % 2 == 1

    proxy = ReplyCuttingProxy(server.port, every_other)
    found: list[str] = []
    with outbox_on_disk(path, f"redis://127.0.0.1:{proxy.port}/0") as outbox:
        while proxy.cuts < wanted:
            found += [parcel.id for parcel in (make_message(len(found)), make_message(len(found) + 1))]
            for number in (-2, -1):
                outbox.put(make_message(len(found) + number))
            assert outbox.flush(20) == 0
    proxy.close()
    with server.client() as client:
        seen = outcome(client, found)
    record(f"connection cut {wanted} times after the command and before the answer", seen)
    assert seen.flawless, seen


def _process(module: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"tests.faults.{module}", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _killed_after(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Its whole lines of output until it was killed, at least so many lines later."""
    with process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.readlines()
    return [line.strip() for line in printed if line.endswith("\n")]


def test_the_sender_killed(make_server: Callable[..., Any], path: Path, times: Times, record: Record) -> None:
    count, pick = times(4, 100), random.Random(2)
    server = make_server()
    printed: list[str] = []
    for kill in range(count):
        printed += _killed_after(
            _process("feeder", server.url, path, 1000 * kill, 300), pick.randrange(1, 25)
        )
    with _process("feeder", server.url, path, 0, 0) as last:
        assert last.stdout is not None
        assert last.stdout.read() == "0 left\n"
    with server.client() as client:
        seen = outcome(client, printed)
    record(f"sending process killed (-9) at {count} random moments", seen)
    assert seen.flawless, seen


def test_a_subscriber_killed_in_the_middle_of_its_work(
    make_server: Callable[..., Any], path: Path, times: Times, record: Record
) -> None:
    count, pick = times(4, 50), random.Random(3)
    server = make_server()
    found = [make_message(number).id for number in range(20 * count)]
    with outbox_on_disk(path, server.url) as outbox:
        for number in range(len(found)):
            outbox.put(make_message(number))
        assert outbox.flush(30) == 0
    worked: Counter[str] = Counter()
    for _ in range(count):
        worked.update(_killed_after(_process("reader", server.url, "one"), pick.randrange(1, 12)))
    last = _process("reader", server.url, "another")
    with last:
        assert last.stdout is not None
        while set(worked) < set(found):
            worked[last.stdout.readline().strip()] += 1
        last.kill()
    again = sum(times - 1 for times in worked.values())
    assert again <= count, "only what was under way at a kill may be worked on again"
    seen = DeliveryTally(
        len(found), len(found) - again, len(set(found) - set(worked)), again, 0, ordered=True
    )
    record(f"subscriber killed {count} times in its work (doubled: under way at a kill, given again)", seen)
    assert not seen.lost


def test_a_full_outbox_loses_exactly_what_it_says(
    make_server: Callable[..., Any], path: Path, record: Record
) -> None:
    server = make_server()
    server.stop()
    count = 500
    with outbox_on_disk(path, server.url, max_events=300, max_bytes=4_000_000) as outbox:
        for number in range(count):
            outbox.put(make_message(number))
        stats = outbox.stats()
        server.start()
        assert outbox.flush(30) == 0
    with server.client() as client:
        seen = outcome(client, [make_message(number).id for number in range(count)])
        (report,) = [fields for _, fields in client.xrange("defects:coverage")]
    assert (seen.lost, seen.doubled) == (stats.shed_events, 0)
    assert seen.once - seen.pictures == stats.shed_pictures - seen.lost
    assert int(report[b"events"]) == seen.lost
    assert seen.lost
    record(f"outbox full (bound: 300 events; it says it gave up {stats.shed_events})", seen)


def test_the_outbox_file_cut_off(path: Path, times: Times, record: Record) -> None:
    cuts = times(5, 200)
    found, kept = check_cuts(path.parent / "state" / "outbox.db", cuts, random.Random(4))
    cut = DeliveryTally(found, kept, found - kept, 0, kept, ordered=True)
    record(
        f"outbox file cut off at {cuts} random places, each reported (once: entries that the report names)",
        cut,
    )


def test_two_senders_with_one_camera_are_distinguished(
    make_server: Callable[..., Any], path: Path, record: Record
) -> None:
    server = make_server()
    with (
        outbox_on_disk(path, server.url) as one,
        outbox_on_disk(path.with_name("other.db"), server.url) as other,
    ):
        with Line(one, 100) as first, Line(other, 100) as second:
            time.sleep(1)
        assert one.flush(20) == other.flush(20) == 0
    with server.client() as client:
        seen = [outcome(client, line.found) for line in (first, second)]
        assert client.xlen("defects:events") == sum(part.found for part in seen)
    both = DeliveryTally(
        *(sum(getattr(part, name) for part in seen) for name in ("found", "once", "lost", "doubled")), 0, True
    )
    record("two senders with one camera name", both)
    for part in seen:
        assert part.flawless, part


def test_putting_never_waits_for_redis(make_server: Callable[..., Any], path: Path) -> None:
    """A paused Redis holds the sender, never whoever found something."""
    server = make_server()
    with outbox_on_disk(path, server.url, timeout=5.0) as outbox:
        outbox.put(make_message(0))
        assert outbox.flush(10) == 0
        server.signal(signal.SIGSTOP)
        with suppress(AssertionError):
            wait_until(lambda: outbox.stats().connected is False, 0.2)
        begun = time.monotonic()
        for number in range(1, 20):
            outbox.put(make_message(number))
        assert time.monotonic() - begun < 5.0, "it waited for the answer"
        server.signal(signal.SIGCONT)
        assert outbox.flush(20) == 0
