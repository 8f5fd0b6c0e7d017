"""`defect-monitor events`: the subscriber at the terminal."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli.events import app
from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError, MonitorError, UsageError
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.subscriber import EventMissingError
from tests.support.events import deliver, make_event, make_jpeg, make_parcel, published

PROGRAM = [sys.executable, "-c", "from monitor.cli.events import app; app()"]


@pytest.fixture
def sink(valkey: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisSink]:
    monkeypatch.setenv("DEFECT_MONITOR_REDIS_URL", valkey)
    sink = RedisSink(valkey)
    deliver(sink, [make_parcel(number) for number in range(3)])
    yield sink
    sink.close()


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_tail_writes_lines_of_json_where_no_terminal_is(sink: RedisSink) -> None:
    lines = run("tail", "--stored", "--count", "2").splitlines()
    assert [json.loads(line)["frame_number"] for line in lines] == [0, 1]


def test_tail_writes_a_table_on_a_terminal(
    sink: RedisSink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    app(["tail", "--stored", "--count", "3"], standalone_mode=False)
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["time", "camera", "frame", "label", "score", "where"]
    assert [row.split()[2:] for row in rows] == [
        ["top", str(number), "defect", "0.912", "3,4", "10×20"] for number in range(3)
    ]


def test_tail_in_a_group_goes_on_where_it_was(sink: RedisSink) -> None:
    arguments = ("tail", "--stored", "--group", "g", "--count")
    assert json.loads(run(*arguments, "1"))["frame_number"] == 0
    assert [json.loads(line)["frame_number"] for line in run(*arguments, "2").splitlines()] == [1, 2]


def test_show_gives_one_event_and_saves_its_picture(sink: RedisSink, tmp_path: Path) -> None:
    event = make_event(1)
    out = run("show", event.id, "--picture", str(tmp_path / "p.jpg"))
    assert json.loads(out) == json.loads(published(make_parcel(1)))
    assert (tmp_path / "p.jpg").read_bytes() == make_jpeg(1)


def test_show_draws_a_table_on_a_terminal(
    sink: RedisSink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    app(["show", make_event(1).id], standalone_mode=False)
    out = capsys.readouterr().out
    assert "10×20 at 3,4" in out
    assert make_event(1).id in out


def test_export_saves_all_that_is_stored(sink: RedisSink, tmp_path: Path) -> None:
    for _ in range(2):
        run("export", "--out", str(tmp_path / "new" / "folder"))
        folder = tmp_path / "new" / "folder"
        lines = (folder / "events.jsonl").read_text().splitlines()
        assert lines == [published(make_parcel(number)) for number in range(3)]
        for number in range(3):
            assert (folder / "frames" / f"{make_event(number).id}.jpg").read_bytes() == make_jpeg(number)


def test_export_in_a_group_adds_what_is_new(sink: RedisSink, tmp_path: Path) -> None:
    for sent, arguments in ((3, ("--count", "2")), (3, ()), (4, ())):
        deliver(sink, [make_parcel(number) for number in range(sent)])
        run("export", "--out", str(tmp_path), "--group", "archive", *arguments)
    numbers = [
        json.loads(line)["frame_number"] for line in (tmp_path / "events.jsonl").read_text().splitlines()
    ]
    assert numbers == [0, 1, 2, 3]


def test_export_never_changes_what_is_there(sink: RedisSink, client: Any, tmp_path: Path) -> None:
    run("export", "--out", str(tmp_path))
    before = (tmp_path / "events.jsonl").read_text()
    (tmp_path / "events.jsonl").write_text(before + '{"cut off": ')
    client.flushall()
    deliver(RedisSink(os.environ["DEFECT_MONITOR_REDIS_URL"]), [make_parcel(number) for number in (2, 7)])
    run("export", "--out", str(tmp_path))
    lines = (tmp_path / "events.jsonl").read_text()
    assert lines == before + '{"cut off": \n' + published(make_parcel(7)) + "\n"
    assert len(list((tmp_path / "frames").iterdir())) == 4


def test_a_consumer_that_was_killed_goes_on_under_its_name(sink: RedisSink, client: Any) -> None:
    client.xgroup_create("defects:events", "g", id="0")
    name = f"{socket.gethostname()}-export"
    client.xreadgroup("g", name, {"defects:events": ">"}, count=2)  # given to it, and not acknowledged
    with tempfile.TemporaryDirectory() as out:
        run("export", "--out", out, "--group", "g")
        assert len((Path(out) / "events.jsonl").read_text().splitlines()) == 3
    assert [consumer["name"].decode() for consumer in client.xinfo_consumers("defects:events", "g")] == [name]


def test_server_and_credentials_come_from_a_settings_file(
    make_server: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server("--requirepass", "hunter2")
    settings = tmp_path / "line.toml"
    settings.write_text(
        f'[redis]\nurl = "{server.url}"\npassword = "${{PASS}}"\nprefix = "line"\n'
        '[[camera]]\nname = "top"\nsource = "simulate:"\n'
    )
    monkeypatch.setenv("PASS", "hunter2")
    monkeypatch.delenv("DEFECT_MONITOR_REDIS_URL", raising=False)
    deliver(RedisSink(server.url, "line", access=RedisCredentials(password="hunter2")), [make_parcel(0)])
    for arguments in (
        ("-c", str(settings)),
        ("--url", server.url, "--prefix", "line", "--password", "hunter2"),
        ("-c", str(settings), "--prefix", "line"),
    ):
        assert json.loads(run("show", make_event(0).id, *arguments))["id"] == make_event(0).id
    with pytest.raises(DeliveryError, match="a password"):
        CliRunner().invoke(app, ["tail", "--url", server.url], catch_exceptions=False)


def test_an_event_from_outside_cannot_write_outside(
    sink: RedisSink, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = json.loads(published(make_parcel(9))) | {"id": "../../evil"}
    client.xadd("defects:events", {"event": json.dumps(forged)})
    run("export", "--out", str(tmp_path / "a" / "b"))
    assert not list(tmp_path.glob("**/evil*"))
    assert len(list((tmp_path / "a" / "b" / "frames").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("show", "no-such"), EventMissingError, "no event 'no-such'"),
        (("show", "a\nb*\x1b[2J"), EventMissingError, r"no event 'a\nb*\x1b[2J'"),
        (("tail", "--url", "redis://127.0.0.1:1"), DeliveryError, "cannot be reached: Connection refused"),
        (("tail", "--url", "nonsense"), UsageError, "Redis URL"),
        (("tail", "--prefix", "a b"), UsageError, "prefix"),
        (("export", "--out", "/dev/null/x"), MonitorError, "cannot write /dev/null/x"),
    ],
)
def test_a_mistake_is_one_sentence(
    sink: RedisSink, arguments: tuple[str, ...], error: type[MonitorError], says: str
) -> None:
    with pytest.raises(error) as caught:
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [("tail", "--stored"), ("tail", "--group", "g"), ("show", "x"), ("export",)]
)
def test_a_key_of_another_type_is_one_sentence(
    valkey: str, client: Any, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    client.set("defects:events", "in the way")
    out = ("--out", str(tmp_path)) if arguments == ("export",) else ()
    with pytest.raises(DeliveryError, match="another type") as caught:
        CliRunner().invoke(app, [*arguments, "--url", valkey, *out], catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_foreign_entries_and_those_of_a_later_version_are_reported_and_skipped(
    sink: RedisSink, client: Any
) -> None:
    client.xadd("defects:events", {"hello": "world"})
    later = json.loads(published(make_parcel(9))) | {"version": 2}
    client.xadd("defects:events", {"event": json.dumps(later)})
    deliver(sink, [make_parcel(3)])
    result = CliRunner().invoke(app, ["tail", "--stored", "--count", "4"], catch_exceptions=False)
    assert [json.loads(line)["frame_number"] for line in result.stdout.splitlines()] == [0, 1, 2, 3]
    foreign, version = result.stderr.splitlines()
    assert "skipped: it has no field `event`" in foreign
    assert "version" in version


def test_a_picture_that_is_gone_is_reported(sink: RedisSink, client: Any, tmp_path: Path) -> None:
    event = make_event(1)
    client.delete(f"defects:frame:{event.id}")
    with pytest.raises(MonitorError, match="no longer"):
        CliRunner().invoke(
            app, ["show", event.id, "--picture", str(tmp_path / "p.jpg")], catch_exceptions=False
        )
    assert not (tmp_path / "p.jpg").exists()


def test_ctrl_c_ends_tail_quietly(sink: RedisSink) -> None:
    command = [*PROGRAM, "tail", "--stored"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        for _ in range(3):
            tail.stdout.readline()
        os.kill(tail.pid, signal.SIGINT)
        assert tail.wait(20) == 0
        assert tail.stderr.read() == b""


def test_tail_ends_quietly_when_its_reader_does(sink: RedisSink) -> None:
    command = [*PROGRAM, "tail", "--stored"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        tail.stdout.readline()
        tail.stdout.close()
        for number in range(3, 6):
            deliver(sink, [make_parcel(number)])
        assert tail.wait(20) == 0
        assert tail.stderr.read() == b""
