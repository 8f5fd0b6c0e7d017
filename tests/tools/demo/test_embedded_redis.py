"""The embedded server is ours alone, leaves nothing behind, and does not outlive us."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from monitor.tools.demo import embedded_redis as embedded
from monitor.tools.demo.embedded_redis import EmbeddedServerError, embedded_server, find_server
from tests.support.redis_servers import wait_until


def alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    try:
        return state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def _has_a_server() -> None:
    try:
        find_server()
    except EmbeddedServerError as error:
        pytest.skip(str(error))


def test_it_answers_on_the_loopback_address_and_is_gone_afterwards() -> None:
    with embedded_server() as url:
        assert url.startswith("redis://127.0.0.1:")
        with redis.Redis.from_url(url, protocol=2, decode_responses=True) as client:
            client.set("a", "b")
            assert client.get("a") == "b"
            assert client.config_get("bind")["bind"] == "127.0.0.1"
            assert client.config_get("save")["save"] == ""
            folder, pid = Path(client.config_get("dir")["dir"]), client.info("server")["process_id"]
    assert not folder.exists()
    assert not alive(pid)


def test_two_at_once_are_two() -> None:
    with embedded_server() as first, embedded_server() as second:
        assert first != second


def test_it_ends_after_an_error_inside() -> None:
    urls = []

    def fail_inside() -> None:
        with embedded_server() as url:
            urls.append(url)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    (url,) = urls
    with redis.Redis.from_url(url, protocol=2) as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_owner_however_that_dies(how: signal.Signals) -> None:
    program = (
        "import redis, time\n"
        "from monitor.tools.demo.embedded_redis import embedded_server\n"
        "with embedded_server() as url:\n"
        "    client = redis.Redis.from_url(url, protocol=2, decode_responses=True)\n"
        "    print(client.info('server')['process_id'], client.config_get('dir')['dir'], flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        first, folder = owner.stdout.readline().split()
        pid = int(first)
        assert alive(pid)
        os.kill(owner.pid, how)
        wait_until(lambda: not alive(pid) and not Path(folder).exists())


def test_a_port_that_is_taken_is_one_sentence_and_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedServerError, match="does not start"), embedded_server(port):
            pass


def test_a_server_of_others_at_the_port_is_not_taken_for_ours() -> None:
    with embedded_server() as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(EmbeddedServerError, match="does not start"), embedded_server(port):
            pass


def test_without_the_wheel_the_servers_of_the_machine_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    if found is None:
        pytest.skip("neither valkey-server nor redis-server is on the PATH")
    assert find_server() == Path(found)
    with embedded_server() as url, redis.Redis.from_url(url, protocol=2) as client:
        assert client.ping()


def test_without_any_server_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(EmbeddedServerError, match=r"pip install '\.\[demo\]'"), embedded_server():
        pass
