"""The archiver on a real Valkey: nothing lost or doubled over outages, kills and full disks."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from monitor.delivery.sinks.redis import RedisSink
from monitor.events.labels import Label
from monitor.events.samples import Sample
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.sample_store import SampleStore
from monitor.redis_streams.subscriber import Subscriber
from monitor.tools.archiver.archive import Archive
from monitor.tools.archiver.metrics import ArchiveMetrics
from monitor.tools.archiver.service import Archiver
from tests.support.acl import rules_of
from tests.support.daemon_process import ENVIRONMENT, defect_monitor, fetch, free_port, wait_for
from tests.support.events import deliver, make_event, make_jpeg, make_message, make_parcel, published
from tests.support.labels import make_label, make_png, make_sample
from tests.support.redis_servers import make_server, program

__all__ = ["make_server", "program"]
DAY = "2026-11-23"


class Service:
    """An archiver in a thread of this process."""

    def __init__(self, url: str, folder: Path, max_bytes: int = 10**7, **options: Any) -> None:
        self.archive = Archive(folder, max_bytes)
        self.metrics = ArchiveMetrics(self.archive)
        connect = partial(Subscriber, url, patience=0, interval=0.05, timeout=1.0, **options)
        self.archiver = Archiver(connect, self.archive, self.metrics, retry_interval=0.05)
        self._thread = threading.Thread(target=self.archiver.run)

    def __enter__(self) -> "Service":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.archiver.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.archive.close()

    def value(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"defect_monitor_archive_{name}") or 0.0

    def problems(self) -> str:
        return str(self.archiver.readiness().report["degraded"])


def archived(folder: Path) -> list[str]:
    return [
        json.loads(line)["id"]
        for path in sorted(folder.glob("2*/events.jsonl"))
        for line in path.read_text().splitlines()
    ]


def notices(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "notices.jsonl").read_text().splitlines()]


def test_events_and_both_images_are_archived_and_acknowledged(
    valkey: str, client: Any, tmp_path: Path
) -> None:
    with closing(RedisSink(valkey)) as sink:
        deliver(sink, [make_parcel(number, raw=True) for number in range(3)])
        with Service(valkey, tmp_path) as service:
            wait_for(lambda: service.value("events_total") == 3, 20)
            deliver(sink, [make_parcel(3)])
            wait_for(lambda: service.value("events_total") == 4, 20)
            assert service.archiver.readiness().ok
            assert service.value("up") == 1
            assert service.value("bytes") == service.archive.size
    lines = (tmp_path / DAY / "events.jsonl").read_text().splitlines()
    assert lines[0] == published(make_parcel(0, raw=True))
    assert archived(tmp_path) == [make_event(number).id for number in range(4)]
    assert (tmp_path / DAY / "frames" / f"{make_event(3).id}.jpg").read_bytes() == make_jpeg(3)
    assert (tmp_path / DAY / "raw" / f"{make_event(2).id}.jpg").read_bytes() == make_jpeg(9)
    assert client.xpending("defects:events", "archive")["pending"] == 0


def test_samples_and_labels_are_archived_once_beside_the_events(
    valkey: str, client: Any, tmp_path: Path
) -> None:
    with closing(RedisSink(valkey)) as sink, closing(SampleStore(valkey, "defects")) as store:
        deliver(sink, [make_parcel(0)])
        store.store(make_sample(1), make_png())
        store.store(make_sample(2), make_png())
    client.unlink(make_sample(2).image.png_key)  # it expires before it is archived
    labels = [make_label("defect", frame=make_event(0).id), make_label("good", author="ben")]
    with closing(StreamHistory(valkey)) as history:
        for label in (*labels, labels[0]):  # one comes twice, as after a crash
            history.add_label(label)
    with Service(valkey, tmp_path) as service:
        wait_for(lambda: service.value("labels_total") == 2 and service.value("samples_total") == 2, 20)
        wait_for(lambda: client.xpending("defects:labels", "archive")["pending"] == 0, 20)
        assert service.value("images_missing_total") == 1
        assert service.value("bytes") == service.archive.size
    day = tmp_path / DAY
    assert [Sample.from_json(line) for line in (day / "samples.jsonl").read_text().splitlines()] == [
        make_sample(1),
        make_sample(2),
    ]
    assert [Label.from_json(line) for line in (day / "labels.jsonl").read_text().splitlines()] == labels
    assert [path.name for path in (day / "samples").iterdir()] == [f"{make_sample(1).id}.png"]
    assert (day / "samples" / f"{make_sample(1).id}.png").read_bytes() == make_png()
    assert archived(tmp_path) == [make_event(0).id]
    with closing(Archive(tmp_path, 10**7)) as again:
        assert not again.store_label(labels[0])  # known after a restart


def test_an_outage_of_redis_is_reported_and_nothing_is_lost(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = make_server("--appendonly", "yes", "--appendfsync", "always")
    with Service(server.url, tmp_path) as service:
        for round_ in range(3):
            with closing(RedisSink(server.url)) as sink:
                deliver(sink, [make_message(10 * round_ + number) for number in range(10)])
            server.stop()
            wait_for(lambda: "cannot be reached" in service.problems(), 20)
            assert service.value("up") == 0
            server.start()
        wait_for(lambda: service.value("events_total") == 30, 30)
        assert service.archiver.readiness().ok
    assert archived(tmp_path) == [make_message(number).id for number in range(30)]


def test_a_changed_password_is_read_again_after_a_refusal(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = make_server("--requirepass", "old")
    password = ["wrong"]

    class Changing(Service):
        def __init__(self) -> None:
            super().__init__(server.url, tmp_path)
            self.archiver._connect = lambda **handlers: Subscriber(
                server.url,
                access=RedisCredentials(password=password[0]),
                patience=0,
                interval=0.05,
                **handlers,
            )

    with closing(RedisSink(server.url, access=RedisCredentials(password="old"))) as sink:
        deliver(sink, [make_parcel()])
    with Changing() as service:
        wait_for(lambda: "refuses the user or password" in service.problems(), 20)
        password[0] = "old"
        wait_for(lambda: service.value("events_total") == 1, 20)


def test_the_subscribers_rights_are_enough(valkey: str, client: Any, tmp_path: Path) -> None:
    client.execute_command("ACL", "SETUSER", *rules_of("subscriber.acl"))
    try:
        with closing(RedisSink(valkey)) as sink:
            deliver(sink, [make_parcel()])
        access = RedisCredentials("defect-subscriber", "change-me")
        with Service(valkey, tmp_path, access=access) as service:
            wait_for(lambda: service.value("events_total") == 1, 20)
    finally:
        client.execute_command("ACL", "DELUSER", "defect-subscriber")


def test_a_full_archive_acknowledges_nothing_and_goes_on_once_there_is_room(
    valkey: str, client: Any, tmp_path: Path
) -> None:
    with closing(RedisSink(valkey)) as sink:
        deliver(sink, [make_message(number) for number in range(4)])  # 20 kB each, of one day
    with Service(valkey, tmp_path, max_bytes=50_000) as service:
        wait_for(lambda: service.value("full") == 1, 20)
        assert "is full" in service.problems()
        assert service.value("up") == 0
        assert service.value("events_total") == 2
        assert client.xpending("defects:events", "archive")["pending"] == 1
        service.archive.max_bytes = 10**6
        wait_for(lambda: service.value("events_total") == 4, 20)
        assert service.value("full") == 0
    assert archived(tmp_path) == [make_message(number).id for number in range(4)]


def test_events_that_were_trimmed_before_they_were_read_are_reported(
    valkey: str, client: Any, tmp_path: Path
) -> None:
    with closing(RedisSink(valkey)) as sink:
        with Service(valkey, tmp_path) as service:
            deliver(sink, [make_parcel(0)])
            wait_for(lambda: service.value("events_total") == 1, 20)
        for number in range(1, 6):
            deliver(sink, [make_parcel(number)])
            time.sleep(0.002)  # stream ids differ by milliseconds
        client.xtrim("defects:events", maxlen=2, approximate=False)
        with Service(valkey, tmp_path) as service:
            wait_for(lambda: service.value("events_total") == 2, 20)
            assert service.value("missed_total") == 1
            assert abs(service.value("last_missed_timestamp_seconds") - time.time()) < 60
    (notice,) = notices(tmp_path)
    assert (notice["kind"], notice["stream"]) == ("missed", "defects:events")
    assert notice["from"] <= notice["to"]


def test_what_is_no_event_or_has_lost_its_image_is_counted(valkey: str, client: Any, tmp_path: Path) -> None:
    with closing(RedisSink(valkey)) as sink:
        deliver(sink, [make_parcel(number) for number in range(2)])
    client.delete(f"defects:frame:{make_event(0).id}")
    client.xadd("defects:events", {"hello": "world"})
    with Service(valkey, tmp_path) as service:
        wait_for(lambda: service.value("events_total") == 2 and service.value("unreadable_total") == 1, 20)
        assert service.value("images_missing_total") == 1
    assert [notice["kind"] for notice in notices(tmp_path)] == ["unreadable"]
    assert client.xpending("defects:events", "archive")["pending"] == 0


@contextmanager
def archive_process(url: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "monitor", "archive", "--to", folder, "--url", url, "--port", str(port)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_killed_again_and_again_it_archives_each_event_once(valkey: str, client: Any, tmp_path: Path) -> None:
    """SIGKILL while it writes. Each restart begins with what was given to it and not acknowledged."""
    count = 60
    with closing(RedisSink(valkey)) as sink:
        for first in range(0, count, 20):
            deliver(sink, [make_message(number) for number in range(first, first + 20)])
    for stop_at in (5, 25, 40):
        with archive_process(valkey, tmp_path, free_port()):
            wait_for(lambda: len(list(tmp_path.glob("2*/frames/*.jpg"))) >= stop_at, 60)  # noqa: B023
    port = free_port()
    with archive_process(valkey, tmp_path, port) as process:
        wait_for(lambda: client.xpending("defects:events", "archive")["pending"] == 0, 60)
        wait_for(lambda: len(list(tmp_path.glob("2*/frames/*.jpg"))) == count, 60)
        wait_for(
            lambda: fetch(port, "/readyz")[0] == 200, 30
        )  # the archive may have been whole before it ran
        assert fetch(port, "/healthz")[0] == 200
        assert "defect_monitor_archive_up 1.0" in fetch(port, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    lines = [
        line for path in tmp_path.glob("2*/events.jsonl") for line in path.read_text().splitlines() if line
    ]
    whole = []
    for line in lines:
        try:
            whole.append(json.loads(line)["id"])
        except ValueError:  # cut off by a kill; the event comes again
            continue
    assert whole == [make_message(number).id for number in range(count)]


def test_wrong_arguments_are_one_sentence(tmp_path: Path) -> None:
    for arguments, code, message in (
        (("--url", "nonsense"), 2, "Redis URL"),
        (("-c", "no-such.toml"), 2, "there is no such file"),
        (("--max-bytes", "5"), 2, "1000000"),
    ):
        done = defect_monitor("archive", "--to", tmp_path / "a", "--port", "0", *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert message in done.stderr
    done = defect_monitor("archive", "--to", "/dev/null/x", "--port", "0")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "defect-monitor: cannot write to the archive /dev/null/x: Not a directory",
    )
