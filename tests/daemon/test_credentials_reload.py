"""A password of Redis that changes under a running daemon: nothing is lost or doubled."""

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from tests.support.daemon_process import free_port, logged_events, run_daemon, wait_for, write_config
from tests.support.redis_servers import make_server, program

__all__ = ["make_server", "program"]
CAMERA = """[[camera]]
name = "top"
source = "simulate:?size=128x128&defect_rate=1"
fps = 5
[explain]
enabled = false
"""


def test_credentials_reload_from_file_settings_and_url(
    make_server: Callable[..., Any], tmp_path: Path, flag_all: str
) -> None:
    server = make_server("--requirepass", "admin")
    admin = redis.Redis.from_url(server.url, password="admin", protocol=2)
    secret, port = tmp_path / "password", free_port()

    def let_in(user: str, password: str) -> None:
        """Let this password in alone, and end every connection that has used another one."""
        admin.execute_command(
            "ACL", "SETUSER", user, "reset", "on", f">{password}", "~*", "&*", "+@all", "-@admin"
        )
        for client in admin.client_list():
            if client["user"] not in ("default", "(superuser)"):
                admin.client_kill_filter(_id=client["id"])

    def write(access: str, url: str = server.url) -> Path:
        path = write_config(tmp_path, CAMERA, url=url, port=port, more=flag_all)
        path.write_text(path.read_text().replace("[metrics]", f"{access}\n[metrics]", 1))
        return path

    let_in("line", "one")
    secret.write_text("one\n")
    config = write(f'username = "line"\npassword_file = "{secret}"')
    with run_daemon(config, port) as daemon:
        daemon.ready()

        def goes_on() -> None:
            before = admin.xlen("defects:events")
            wait_for(lambda: admin.xlen("defects:events") > before + 3, 60, daemon)

        goes_on()

        def changes_to(user: str, password: str) -> None:
            """Redis refuses the daemon, its settings are reloaded, and every event goes out."""
            let_in(user, password)
            wait_for(lambda: daemon.metric("defect_monitor_redis_up") == 0, 60, daemon)
            daemon.process.send_signal(signal.SIGHUP)
            goes_on()
            wait_for(lambda: daemon.metric("defect_monitor_redis_up") == 1, 60, daemon)

        secret.write_text("two\n")  # the file changes, the settings do not
        changes_to("line", "two")
        write('username = "other"\npassword = "three"')
        admin.execute_command("ACL", "DELUSER", "line")
        changes_to("other", "three")
        write("", url=server.url.replace("//", "//url:four@"))
        admin.execute_command("ACL", "DELUSER", "other")
        changes_to("url", "four")
        assert "take effect at the next start only" not in daemon.log.read_text()

        secret.unlink()
        write(f'username = "line"\npassword_file = "{secret}"')
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the settings are refused" in daemon.log.read_text(), 30, daemon)
        goes_on()

        write("stream_maxlen = 9000", url="redis://url:four@127.0.0.1:1/0")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "redis.stream_maxlen, redis.url" in daemon.log.read_text(), 30, daemon)
        goes_on()
        assert daemon.stop() == 0
    log = daemon.log.read_text()
    assert not any(f":{password}@" in log for password in ("admin", "two", "three", "four"))
    assert_each_event_came_once(admin, logged_events(log))
    admin.close()


def assert_each_event_came_once(client: Any, found: list[str]) -> None:
    stored = [fields[b"id"].decode() for _, fields in client.xrange("defects:events")]
    assert max(Counter(stored).values()) == 1
    assert stored == found
