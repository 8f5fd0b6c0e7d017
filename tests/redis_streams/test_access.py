"""Every way into a server, and the least rights that are enough."""

import json
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from typer.testing import CliRunner

from monitor.cli.events import app
from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError, MonitorError, UsageError
from monitor.events.challenge import ChallengeAnswer, ChallengeRequest
from monitor.events.event import Event
from monitor.events.messages import NoticeMessage
from monitor.records import CameraStateChange
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.challenge import ChallengeClient, ChallengeQueue
from monitor.redis_streams.consumer_group import GroupConsumer
from monitor.redis_streams.history import StreamHistory
from monitor.redis_streams.labelling import find_target, read_labels
from monitor.redis_streams.lease import CameraLeases
from monitor.redis_streams.preview import PreviewPublisher
from monitor.redis_streams.sample_store import SampleStore
from monitor.redis_streams.stream_monitor import StreamMonitor
from monitor.redis_streams.subscriber import Subscriber
from monitor.web.camera.verdict_log import VerdictLog
from tests.support.acl import CONVENIENCE, each_right_removed, rules_of
from tests.support.events import BEGIN, deliver, make_event, make_parcel, make_verdicts
from tests.support.labels import make_label, make_sample
from tests.support.redis_servers import DEBIANS, SentinelProcess, ServerProcess, server_program, wait_until

CHALLENGE_ANSWER = ChallengeAnswer(camera="top", daemon="me", inspected_at=BEGIN, outcome="clean")


def test_a_unix_socket(make_server: Callable[..., Any], tmp_path: Path) -> None:
    make_server("--unixsocket", f"{tmp_path}/s")
    sink = RedisSink(f"unix://{tmp_path}/s")
    assert deliver(sink, [make_parcel()]) == 1
    sink.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server's and a client's certificate from it, and one from another authority."""
    if shutil.which("openssl") is None:
        pytest.skip("making certificates needs openssl")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for authority in ("ca", "other-ca"):
        names = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names)
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other-ca")):
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            "r",
            "-subj",
            f"/CN={name}",
        )
        signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", "r", "-out", f"{name}.pem", "-extfile", "names", *signed)
    return folder


class TlsServer(ServerProcess):
    """A server that speaks TLS alone, on its port."""

    folder_of_certificates: Path

    def start(self) -> None:
        tls = self.folder_of_certificates
        files = [
            f"{tls}/server.pem",
            "--tls-key-file",
            f"{tls}/server.key",
            "--tls-ca-cert-file",
            f"{tls}/ca.pem",
        ]
        command = [str(self.program), "--port", "0", "--tls-port", str(self.port), "--save", ""]
        command += ["--dir", str(self.folder), "--tls-cert-file", *files]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(0.1)
        if self.process.poll() is not None:
            pytest.skip("this redis-server is built without TLS")
        wait_until(self._answers)

    def client(self, **options: Any) -> Any:
        tls = self.folder_of_certificates
        files = {
            "ssl_ca_certs": f"{tls}/ca.pem",
            "ssl_certfile": f"{tls}/client.pem",
            "ssl_keyfile": f"{tls}/client.key",
        }
        return redis.Redis(port=self.port, host="127.0.0.1", protocol=2, ssl=True, **files, **options)


@pytest.fixture
def tls_server(tmp_path: Path, certificates: Path) -> Any:
    program = server_program(DEBIANS)  # the Valkey of the wheel is built without TLS
    server = TlsServer(tmp_path, program)
    server.folder_of_certificates = certificates
    server.start()
    yield server
    server.stop()


def test_tls_with_an_authority_and_a_client_certificate(tls_server: Any, certificates: Path) -> None:
    def sink(**paths: str) -> RedisSink:
        access = RedisCredentials(**{name: str(certificates / path) for name, path in paths.items()})  # type: ignore[arg-type]  # paths alone
        return RedisSink(f"rediss://127.0.0.1:{tls_server.port}/0", access=access)

    good = sink(ca="ca.pem", certificate="client.pem", key="client.key")
    assert deliver(good, [make_parcel()]) == 1
    good.close()
    with Subscriber(
        f"rediss://127.0.0.1:{tls_server.port}/0?ssl_ca_certs={certificates}/ca.pem"
        f"&ssl_certfile={certificates}/client.pem&ssl_keyfile={certificates}/client.key"
    ) as subscriber:
        assert [event.id for event in subscriber.stored()] == [make_parcel().id]
    url = f"rediss://127.0.0.1:{tls_server.port}/0?ssl_ca_certs={certificates}"
    files = f"&ssl_certfile={certificates}/client.pem&ssl_keyfile={certificates}/client.key"
    shown = CliRunner().invoke(app, ["show", make_parcel().id, "--url", f"{url}/ca.pem{files}"])
    assert (shown.exit_code, json.loads(shown.stdout)["id"]) == (0, make_parcel().id)
    with pytest.raises(DeliveryError, match="certificate verify failed"):
        CliRunner().invoke(
            app, ["tail", "--stored", "--url", f"{url}/other-ca.pem{files}"], catch_exceptions=False
        )
    for wrong in (
        sink(ca="other-ca.pem", certificate="client.pem", key="client.key"),
        sink(ca="ca.pem", certificate="stranger.pem", key="stranger.key"),
        sink(ca="ca.pem"),
    ):
        with pytest.raises(DeliveryError):
            wrong.check()
        wrong.close()


def test_certificates_without_tls_are_refused() -> None:
    with pytest.raises(UsageError, match="must begin with rediss"):
        RedisSink("redis://localhost", access=RedisCredentials(ca="/some/ca.pem"))


@pytest.fixture
def sentinel(make_server: Callable[..., Any], tmp_path: Path, program: Path) -> Any:
    """Primary, replica, and a Sentinel that knows both."""
    primary = make_server()
    replica = make_server("--replicaof", f"127.0.0.1 {primary.port}")
    watcher = SentinelProcess(tmp_path, program, primary.port)
    watcher.start()
    with watcher.client(decode_responses=True) as client:
        wait_until(lambda: client.execute_command("SENTINEL", "REPLICAS", "line"))
    with replica.client() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    yield watcher, primary, replica
    watcher.stop()


def test_sentinels_lead_to_the_primary_also_after_a_failover(sentinel: Any) -> None:
    watcher, primary, replica = sentinel
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watcher.port}/line/0"
    sink = RedisSink(url, replicas=1, timeout=2.0)
    assert deliver(sink, [make_parcel(0)]) == 1
    primary.stop()
    delivered = 0

    def goes_through() -> bool:
        nonlocal delivered
        try:
            delivered = deliver(sink, [make_parcel(0), make_parcel(1)])
        except DeliveryError:
            # The new primary takes it, but has no replica left to wait for.
            with replica.client() as client:
                return bool(client.role()[0] == b"master" and client.xlen("defects:events") == 2)
        return True

    wait_until(goes_through, 30)
    with Subscriber(url) as subscriber:
        assert [event.id for event in subscriber.stored()] == [make_parcel(0).id, make_parcel(1).id]
    for arguments in (("--stored",), ("--stored", "--group", "g")):
        seen = CliRunner().invoke(app, ["tail", *arguments, "--count", "2", "--url", url])
        assert (seen.exit_code, len(seen.stdout.splitlines())) == (0, 2)
    sink.close()


def test_sentinels_with_users_of_their_own_take_the_name_by_settings_or_url(sentinel: Any) -> None:
    """As in deploy/redis/sentinel.acl, but with a user's name instead of `default`."""
    watcher, _, _ = sentinel
    rules = ["asker", *rules_of("sentinel.acl", "default")[1:]]
    with watcher.client() as client:
        client.execute_command("ACL", "SETUSER", *rules)
        client.execute_command("ACL", "SETUSER", "default", "off")
    url = f"redis+sentinel://127.0.0.1:{watcher.port}/line/0"
    own = RedisCredentials(sentinel_username="asker", sentinel_password="change-me")
    with closing(RedisSink(url, access=own)) as sink:
        assert deliver(sink, [make_parcel(0)]) == 1
    asking = f"{url}?sentinel_username=asker&sentinel_password="
    with Subscriber(f"{asking}change-me") as subscriber:
        assert [event.id for event in subscriber.stored()] == [make_parcel(0).id]
    for wrong, access in ((url, RedisCredentials()), (url, RedisCredentials(sentinel_password="change-me"))):
        with closing(RedisSink(wrong, access=access)) as sink, pytest.raises(DeliveryError):
            sink.check()
    with closing(RedisSink(f"{asking}h%40nter2")) as sink, pytest.raises(DeliveryError) as caught:
        sink.check()
    assert "nter2" not in f"{caught.value} {caught.value.__cause__}"


def test_a_sentinels_user_without_sentinels_is_refused() -> None:
    with pytest.raises(UsageError, match=r"are for redis\+sentinel URLs"):
        RedisSink("redis://localhost/0?sentinel_username=asker")


def test_an_item_counts_as_delivered_only_once_the_replicas_have_it(make_server: Callable[..., Any]) -> None:
    primary = make_server()
    sink = RedisSink(primary.url, replicas=1, timeout=0.5)
    with pytest.raises(DeliveryError, match="0 replicas in step"):
        deliver(sink, [make_parcel()])
    replica = make_server("--replicaof", f"127.0.0.1 {primary.port}")
    with replica.client() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    assert deliver(sink, [make_parcel()]) == 1
    with primary.client() as client:
        assert client.xlen("defects:events") == 1
    sink.close()


def test_a_repetition_on_a_new_connection_waits_for_the_replicas_as_well(
    make_server: Callable[..., Any],
) -> None:
    primary = make_server()
    replica = make_server("--replicaof", f"127.0.0.1 {primary.port}")
    with replica.client() as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    with primary.client() as client:
        wait_until(lambda: client.execute_command("WAIT", 1, 1000) == 1)
    replica.signal(signal.SIGSTOP)
    for _ in range(2):  # a lost answer ends the first connection; the replica has nothing yet
        sink = RedisSink(primary.url, replicas=1, timeout=0.5)
        with pytest.raises(DeliveryError, match="0 replicas in step"):
            deliver(sink, [make_parcel()], "run")
        sink.close()
    replica.signal(signal.SIGCONT)
    sink = RedisSink(primary.url, replicas=1, timeout=2.0)
    assert deliver(sink, [make_parcel()], "run") == 1
    with replica.client() as client:
        assert client.xlen("defects:events") == 1
    sink.close()


def write_everything(url: str) -> str:
    """All that the daemon does; what came of it; a live channel that fails is not reported."""
    heard = []
    one = make_parcel(0, raw=True)
    # Room for one: the second has the first one removed.
    sink = RedisSink(
        url,
        daemon="me",
        access=RedisCredentials("defect-monitor", "change-me"),
        picture_bytes=one.image_bytes,
        verdicts_maxlen=100,
    )
    listener = redis.Redis.from_url(url, protocol=2).pubsub(ignore_subscribe_messages=True)
    listener.subscribe("defects:live:top")
    listener.get_message(timeout=5)
    claims = CameraLeases(
        url,
        "defects",
        "me",
        ["top"],
        on_conflict=lambda *_: None,
        access=RedisCredentials("defect-monitor", "change-me"),
    )
    monitor = StreamMonitor(url, "defects", 10, access=RedisCredentials("defect-monitor", "change-me"))
    try:
        sink.check()
        claims.start(threading.Event())
        if not claims._answers:
            return "refused: the leases"
        with claims._server.translate_errors("asking"):
            claims._server.client.get(claims.keys.lease("top"))
        incident = NoticeMessage("i", "top", (("id", "i"),), BEGIN, BEGIN, "incidents")
        notice = NoticeMessage.of(CameraStateChange("top", "down", BEGIN))
        for item in (one, notice, incident, make_verdicts(), one, make_parcel(1, raw=True)):
            deliver(sink, [item])
        with redis.Redis.from_url(url, protocol=2) as client:
            client.xgroup_create("defects:events", "g", id="0")
            client.xreadgroup("g", "c", {"defects:events": ">"}, count=1)
        monitor.measure()
        preview = PreviewPublisher(
            url, "defects", access=RedisCredentials("defect-monitor", "change-me"), timeout=5.0
        )
        with redis.Redis.from_url(url, protocol=2) as watcher:
            watcher.set("defects:watching", "1")
            preview._ask()
            preview.show("top", 1, BEGIN, np.zeros((8, 8, 3), np.uint8))
            preview._publish_all()
            preview.close()
            if watcher.ttl("defects:preview:top") <= 0:
                return "refused: the preview"
        with closing(
            SampleStore(
                url,
                "defects",
                access=RedisCredentials("defect-monitor", "change-me"),
                timeout=5.0,
                max_bytes=1_000,
            )
        ) as samples:
            for number in range(2):  # the second has the first one's file removed
                samples.store(make_sample(number), bytes(900))
        with closing(
            ChallengeQueue(
                url, "defects", access=RedisCredentials("defect-monitor", "change-me"), timeout=5.0
            )
        ) as challenges:
            request = ChallengeRequest(id="a" * 32, camera="top", file="a.png")
            with redis.Redis.from_url(url, protocol=2) as asker:
                asker.rpush("defects:challenge:top", request.to_bytes(b"x"))
            if challenges.take(["top"]) != request.to_bytes(b"x"):
                return "refused: the challenge"
            challenges.answer(request, CHALLENGE_ANSWER)
        message = listener.get_message(timeout=0.5)
        heard = [message["data"]] if message else []
    except MonitorError as error:
        return f"refused: {error}"
    finally:
        claims.close()
        sink.close()
        monitor.close()
        listener.close()
        listener.connection_pool.disconnect()
    with redis.Redis.from_url(url, protocol=2) as client:
        if client.exists("defects:holder:top"):
            return "the lease was not given back"
    return "fine" if heard else "not heard"


def read_everything(url: str) -> str:
    """All that a subscriber does."""
    access = RedisCredentials("defect-subscriber", "change-me")
    plain = redis.Redis.from_url(url, username="defect-subscriber", password="change-me", protocol=2)
    try:
        with Subscriber(url, access=access, interval=0.02) as subscriber:
            event = subscriber.find(make_event(0).id)
            assert len(list(subscriber.stored())) == 2
            assert subscriber.picture(event)
            assert subscriber.raw_picture(event)
            assert next(subscriber.follow("0")).id == event.id
            assert list(subscriber.incidents("$", stop=lambda: True)) == []
            list(islice(subscriber.incidents("0", stop=iter([False, True, True]).__next__), 1))
            list(islice(subscriber.verdicts("0", stop=iter([False, True, True]).__next__), 1))
            list(islice(subscriber.samples("0", stop=iter([False, True, True]).__next__), 1))
            list(islice(subscriber.labels("0", stop=iter([False, True, True]).__next__), 1))
            subscriber.sample_image(make_sample())
            for given, acknowledge in subscriber.work("g", "a", start="0", wait=False, takeover=0):
                assert given.camera == "top"
                acknowledge()
            with subscriber._server.translate_errors("taking over"):
                GroupConsumer(subscriber._server, "defects:events", "g", "b").claim_stale(0)
        plain.xrange("defects:coverage")
        with plain.pubsub() as live:
            live.subscribe("defects:live:top")
            live.get_message(timeout=1)
    except (MonitorError, redis.RedisError) as error:
        return f"refused: {error}"
    finally:
        plain.close()
    return "fine"


def show_everything(url: str) -> str:
    """All that the operator's page does."""
    access = RedisCredentials("defect-page", "change-me")
    history = StreamHistory(url, access=access)
    keys = history.keys
    try:
        newest = history.newest_first(keys.events, count=1)
        assert len(history.oldest_first(keys.incidents, count=1)) == 1
        assert history.read_new({keys.events: "0", keys.coverage: "0"}, wait=0.01, count=1)
        event = Event.from_json(newest[0].fields["event"])
        assert history.image(keys.frame(event.id))
        assert history.image(keys.raw(event.id))
        history.watch(5)
        history.live_frame("top")
        history.live_frame_times(["top"])
        history.consumer_groups()
        VerdictLog(history, has_verdicts=True).strip("top", datetime.now(UTC))
        assert history.have_images([event.id]) == [True]
        assert find_target(history, event.id).subject.kind == "event"
        history.newest_first(keys.samples, count=1)
        history.image(keys.sample("1"))
        history.add_label(make_label("good"))
        assert read_labels(history.newest_first(keys.labels, count=1))
        with closing(ChallengeClient(url, access=access, taken_within=0.05, timeout=5.0)) as challenges:
            try:
                challenges.show("top", "a.png", b"x")
            except MonitorError as error:
                if "no running daemon" not in str(error):
                    raise
    except (MonitorError, redis.RedisError) as error:
        return f"refused: {error}"
    finally:
        history.close()
    return "fine"


@pytest.mark.parametrize(
    ("name", "use", "spare"),
    [
        ("defect-monitor.acl", write_everything, CONVENIENCE - {"+xlen", "+xinfo|groups", "+xpending"}),
        ("subscriber.acl", read_everything, CONVENIENCE | {"+info"}),
        ("page.acl", show_everything, CONVENIENCE - {"+xinfo|groups"} | {"+info"}),
    ],
)
def test_the_rights_are_enough_and_each_is_needed(
    valkey: str, name: str, use: Callable[[str], str], spare: set[str]
) -> None:
    rules = rules_of(name)
    with redis.Redis.from_url(valkey, protocol=2) as client:

        def fresh() -> None:
            client.flushall()
            if use in (read_everything, show_everything):
                sink = RedisSink(valkey)
                incident = NoticeMessage("i", "top", (("id", "i"),), BEGIN, BEGIN, "incidents")
                notice = NoticeMessage.of(CameraStateChange("top", "down", BEGIN))
                deliver(sink, [incident, notice, make_parcel(0, raw=True), make_parcel(1, raw=True)])
                sink.close()
            else:
                # So many runs that their marks are cleared, and a lease of an earlier run.
                client.hset("defects:delivered:me", mapping={f"run-{number}": 1 for number in range(20)})

        try:
            fresh()
            client.execute_command("ACL", "SETUSER", *rules)
            assert use(valkey) == "fine"
            for right, others in each_right_removed(rules, spare):
                fresh()
                client.execute_command("ACL", "SETUSER", rules[0], "reset")
                client.execute_command("ACL", "SETUSER", *others)
                assert use(valkey) != "fine", f"{right} is not needed"
        finally:
            client.execute_command("ACL", "DELUSER", rules[0])


USERS = (
    ("defect-monitor.acl", "defect-monitor"),
    ("subscriber.acl", "defect-subscriber"),
    ("page.acl", "defect-page"),
)


@pytest.mark.parametrize(("name", "user"), USERS)
def test_health_checks_of_every_client_are_permitted(valkey: str, name: str, user: str) -> None:
    checks = [
        *(["PING"], ["ECHO", "x"], ["SELECT", "0"], ["INFO"], ["COMMAND"], ["CLIENT", "ID"]),
        *(["HELLO", "2", "AUTH", user, "change-me"], ["HELLO", "2"]),
        *(["CLIENT", "SETNAME", "x"], ["CLIENT", "GETNAME"], ["CLIENT", "SETINFO", "LIB-NAME", "x"]),
    ]
    if user == "defect-subscriber":
        checks += [
            *(["XLEN", "defects:events"], ["XINFO", "STREAM", "defects:events"]),
            *(["XINFO", "GROUPS", "defects:events"], ["XINFO", "CONSUMERS", "defects:events", "g"]),
            *(["XPENDING", "defects:events", "g"], ["PSUBSCRIBE", "defects:live:*"]),
            *(["PUNSUBSCRIBE"], ["SUBSCRIBE", "defects:live:top"], ["UNSUBSCRIBE"]),
        ]
    with redis.Redis.from_url(valkey, protocol=2) as client:
        client.xgroup_create("defects:events", "g", mkstream=True)
        client.execute_command("ACL", "SETUSER", *rules_of(name))
        connection = redis.Connection(
            **client.connection_pool.connection_kwargs | {"username": user, "password": "change-me"}
        )
        connection.connect()
        for check in checks:
            connection.send_command(*check)
            connection.read_response()  # raises what the server refuses
        connection.disconnect()
        with redis.Redis.from_url(valkey, username=user, password="change-me", protocol=3) as newer:
            assert newer.ping()
        client.execute_command("ACL", "DELUSER", user)


def test_the_daemons_user_reads_no_stream_but_the_events_and_can_neither_overwrite_nor_delete_any(
    valkey: str,
) -> None:
    rules = rules_of("defect-monitor.acl")
    commands = [
        *(["DEL", "defects:events"], ["FLUSHALL"], ["SET", "x", "y"]),
        *(["XRANGE", "defects:coverage", "-", "+"], ["XRANGE", "defects:incidents", "-", "+"]),
        *(["SET", "defects:events", "y"], ["UNLINK", "defects:events"], ["EXPIRE", "defects:events", "1"]),
        *(
            ["SET", "defects:pictures", "y"],
            ["SET", "defects:delivered:me", "y"],
            ["XTRIM", "defects:events", "MAXLEN", "0"],
        ),
        *(["GET", "defects:frame:x"], ["CLIENT", "KILL", "TYPE", "normal"], ["CONFIG", "GET", "*"]),
    ]
    with redis.Redis.from_url(valkey, protocol=2) as client:
        client.execute_command("ACL", "SETUSER", *rules)
        url = {"username": "defect-monitor", "password": "change-me"}
        with redis.Redis.from_url(valkey, **url, protocol=2) as user:
            for command in commands:
                with pytest.raises(redis.exceptions.NoPermissionError):
                    user.execute_command(*command)
            with pytest.raises(redis.exceptions.ResponseError, match="permission"):
                user.eval("return redis.call('SET', KEYS[1], 'x')", 1, "defects:events")
        client.execute_command("ACL", "DELUSER", "defect-monitor")


def test_the_rights_for_older_servers_are_enough(valkey: str) -> None:
    with redis.Redis.from_url(valkey, protocol=2) as client:
        for user in ("defect-monitor", "defect-subscriber"):
            client.execute_command("ACL", "SETUSER", *rules_of("redis-6.2.acl", user))
        try:
            assert write_everything(valkey) == "fine"
            client.flushall()
            sink = RedisSink(valkey)
            deliver(sink, [make_parcel(0, raw=True), make_parcel(1)])
            sink.close()
            assert read_everything(valkey) == "fine"
        finally:
            client.execute_command("ACL", "DELUSER", "defect-monitor", "defect-subscriber")
