"""The service on a real systemd, starting from a bare Debian. The tests depend on their order.

`make test-systemd` runs them; their log is build/systemd.log.
"""

import json
import re
import time
from collections.abc import Iterator

import pytest

from tests.support import ROOT
from tests.systemd.machine import SOURCES, Machine, documented_commands, prepare, why_absent

pytestmark = [
    pytest.mark.systemd,
    pytest.mark.skipif(why_absent() is not None, reason=str(why_absent())),
    pytest.mark.timeout(1200),
]

INSTALLATION = ("README.md", "Install as a service")
SETTINGS = "/etc/defect-monitor/line.toml"
EVENTS = "redis-cli xlen defects:events"
WATCHDOG = 30.0
CAMERA = '\n[[camera]]\nname = "{name}"\nsource = "simulate:?seed=3&defect_rate=0.1"\nfps = 5\n'


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    packages = next(line for line in documented_commands(*INSTALLATION) if line.startswith("apt-get install"))
    prepare(packages.split("--yes")[1] + " dbus")
    with (ROOT / "build" / "systemd.log").open("w") as log:
        machine = Machine(log)
        try:
            yield machine
        finally:
            machine.note("the service's whole journal")
            log.write(machine.journal())
            machine.close()


def main_process(machine: Machine) -> str:
    """Return the PID of the daemon."""
    (number,) = machine.show("MainPID")
    assert int(number) > 0, machine.journal()[-3000:]
    return number


def active(machine: Machine) -> bool:
    return machine.show("ActiveState") == ["active"]


def events(machine: Machine) -> int:
    return int(machine.ask(EVENTS))


def more_events(machine: Machine, seconds: float = 60) -> None:
    """Wait until another event has arrived."""
    before = events(machine)
    machine.wait_for(EVENTS, lambda output: int(output) > before, seconds)


def processes(machine: Machine) -> list[str]:
    """Return the PIDs of all processes that run from a release."""
    return re.findall(r"\d+", machine.ask("grep -la ^/opt/defect-monitor/releases /proc/[0-9]*/cmdline"))


def metric(machine: Machine, start: str) -> str:
    """Return the lines of /metrics that begin with `start`."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    return machine.ask(f'/opt/defect-monitor/current/bin/python -c "{script}" | grep "^{start}"')


def test_the_commands_of_the_readme_alone_give_a_running_service(machine):
    machine.note("the README's commands, on a bare Debian")
    for command in documented_commands(*INSTALLATION):
        machine.run(command, folder=SOURCES, timeout=900)
    type_, state, result, status = machine.show("Type", "ActiveState", "Result", "StatusText")
    assert (type_, state, result) == ("notify", "active", "success")
    assert status.startswith("watching 2 cameras")


def test_it_became_active_by_its_notification_after_the_cameras_were_tried(machine):
    machine.note("ready by notify")
    lines = machine.run("journalctl --no-pager -o short-monotonic -u defect-monitor").splitlines()
    last_camera = max(index for index, line in enumerate(lines) if "camera is up" in line)
    started = next(index for index, line in enumerate(lines) if "systemd[1]: Started" in line)
    assert last_camera < started


def test_events_arrive_in_redis(machine):
    machine.note("events")
    more_events(machine)
    assert json.loads(machine.run("defect-monitor events tail --stored --count 1"))["camera"] in (
        "left",
        "right",
    )


def test_the_journal_has_levels_and_no_second_time_stamp(machine):
    machine.note("journal: priority and text")
    lines = machine.run(
        "journalctl -u defect-monitor -o json --output-fields=PRIORITY,MESSAGE -g 'camera is'"
    )
    entries = [json.loads(line) for line in lines.splitlines()]
    assert {entry["PRIORITY"] for entry in entries} == {"6"}
    assert all(re.match(r"camera is \w+ camera=", entry["MESSAGE"]) for entry in entries)


def test_the_doctor_checks_what_the_running_service_uses(machine):
    machine.note("doctor, as the service's user, with its credentials and folders")
    # systemd-run needs it; only a bare Debian has none.
    machine.run("apt-get install --yes -qq dbus && systemctl start dbus")
    (command,) = documented_commands("deploy/README.md", "Checks")
    output = machine.run(f"{command} --json || true", timeout=300)
    checks = {check["name"]: check for check in json.loads(output[output.index("{") :])["checks"]}
    wrong = [check for name, check in checks.items() if check["result"] == "not ok" and name != "time"]
    assert wrong == []
    assert "in use by a running defect-monitor" in checks["port"]["what"]
    assert checks["outbox"]["what"].startswith("/var/lib/defect-monitor: fsync")


def test_stacks_are_written_to_the_journal_and_collected_with_it(machine):
    machine.note("SIGUSR1, and a support bundle")
    machine.run("systemctl kill -s USR1 --kill-whom=main defect-monitor")
    machine.wait_for("journalctl --quiet --unit=defect-monitor --grep='thread judge:'", bool, 30)
    assert machine.show("ActiveState", "NRestarts") == ["active", "0"]
    machine.run(f"defect-monitor support-bundle -c {SETTINGS} --out /root/help.tar.gz", timeout=300)
    log = machine.run("tar -xOzf /root/help.tar.gz help/log.txt")
    assert "thread judge: " in log
    assert "waiting: camera left " in log
    assert "defect_monitor_build_info" in machine.run("tar -xOzf /root/help.tar.gz help/metrics.txt")


def test_a_reload_adds_a_camera_and_leaves_the_others_alone(machine):
    machine.note("reload")
    before = main_process(machine)
    left = metric(machine, 'defect_monitor_camera_reconnects_total{camera="left"')
    machine.write(SETTINGS, machine.read(SETTINGS) + CAMERA.format(name="third"))
    machine.run("systemctl reload defect-monitor")
    machine.wait_for(
        "systemctl show defect-monitor -p StatusText", lambda output: "watching 3 cameras" in output, 30
    )
    machine.wait_for(
        "redis-cli xrevrange defects:events + - COUNT 100 | grep -cx third", lambda output: output != "0", 90
    )
    assert machine.show("MainPID", "NRestarts") == [before, "0"]
    assert metric(machine, 'defect_monitor_camera_reconnects_total{camera="left"') == left


def test_a_reload_with_wrong_settings_is_refused_and_changes_nothing(machine):
    machine.note("reload with a mistake")
    good = machine.read(SETTINGS)
    machine.write(SETTINGS, good.replace("max_n", "maxn"))
    machine.run("systemctl reload defect-monitor", code=1)
    machine.write(SETTINGS, good)
    machine.wait_for(
        "journalctl --no-pager -u defect-monitor -g 'unknown key' | tail -n 1",
        lambda output: "explain.maxn: unknown key; did you mean 'max_n'?" in output,
        10,
    )
    assert active(machine)
    more_events(machine)


def test_a_stopped_inference_is_ended_by_the_watchdog_and_the_service_comes_back(machine):
    machine.note("watchdog: the process that infers is stopped")
    before = main_process(machine)
    machine.run(f"kill -STOP {before}")
    took = machine.wait_for(
        "journalctl --no-pager -u defect-monitor -g 'Watchdog timeout' | tail -n 1",
        lambda output: "Watchdog timeout" in output,
        WATCHDOG + 5,
    )
    assert took <= WATCHDOG + 1  # one second for polling
    machine.wait_for("systemctl show -P ActiveState defect-monitor", "active", 300)
    after, restarts = machine.show("MainPID", "NRestarts")
    assert after != before
    assert restarts == "1"
    more_events(machine)


def test_a_killed_daemon_starts_again_and_leaves_no_process_behind(machine):
    machine.note("kill -9")
    before = main_process(machine)
    machine.run(f"kill -KILL {before}")
    machine.wait_for("systemctl show -P NRestarts defect-monitor", "2", 60)
    machine.wait_for("systemctl show -P ActiveState defect-monitor", "active", 300)
    more_events(machine)
    assert before not in processes(machine)
    parents = machine.run(
        "cat $(grep -la ^/opt/defect-monitor/releases /proc/[0-9]*/cmdline | sed s/cmdline/stat/)"
    )
    now = main_process(machine)
    for line in parents.splitlines():  # number (name) state parent ...
        assert now in (line.split()[0], line.rsplit(")", 1)[1].split()[1])


def test_a_stop_is_clean_within_ten_seconds(machine):
    machine.note("stop")
    began = time.monotonic()
    machine.run("systemctl stop defect-monitor")
    assert time.monotonic() - began < 10
    result, code = machine.show("Result", "ExecMainStatus")
    assert (result, code) == ("success", "0")
    assert processes(machine) == []


def test_a_secret_comes_from_the_credential_alone(machine):
    machine.note("secrets: a password that only the credential has")
    secret = "only-the-credential-has-it"
    machine.run(f"redis-cli config set requirepass {secret}")
    settings = machine.read(SETTINGS)
    machine.write(SETTINGS, settings + '\n[redis]\npassword = "${secret_redis-password}"\n')
    machine.run("systemctl start defect-monitor", code=1)  # the secret is not there yet
    machine.wait_for("systemctl show -P ActiveState defect-monitor", "failed", 60)
    assert "secret_redis-password" in machine.run("journalctl --no-pager -u defect-monitor -n 5")
    machine.run(f"umask 077; printf %s {secret} > /etc/defect-monitor/secrets/redis-password")
    machine.run("systemctl start defect-monitor", timeout=320)
    pid = main_process(machine)
    machine.wait_for(f"REDISCLI_AUTH={secret} {EVENTS}", lambda output: int(output) > 0, 60)
    assert machine.ask(f"grep -c {secret} /proc/{pid}/environ /proc/{pid}/cmdline") == (
        f"/proc/{pid}/environ:0\n/proc/{pid}/cmdline:0"
    )
    assert secret not in machine.ask("systemctl show defect-monitor")
    assert secret not in machine.journal()
    machine.run("su -s /bin/sh defect-monitor -c 'cat /etc/defect-monitor/secrets/redis-password'", code=1)
    machine.run(f"REDISCLI_AUTH={secret} redis-cli config set requirepass ''")
    machine.write(SETTINGS, settings)
    machine.run("systemctl stop defect-monitor")


def test_a_process_of_the_service_is_confined(machine):
    machine.note("what a process of the service can do: its own unit, with a probe in the daemon's place")
    unit = machine.read("/usr/local/lib/systemd/system/defect-monitor.service")
    probe = re.sub(r"^ExecStart=.*$", "ExecStart=/usr/bin/python3 /opt/probe.py", unit, flags=re.MULTILINE)
    probe = re.sub(r"^(ExecReload|WatchdogSec|Restart\w*|NotifyAccess)=.*\n", "", probe, flags=re.MULTILINE)
    probe = probe.replace("Type=notify", "Type=oneshot\nStandardOutput=truncate:/var/lib/probe.json")
    machine.write("/opt/probe.py", (ROOT / "tests" / "systemd" / "probe.py").read_text())
    machine.write("/etc/systemd/system/probe.service", probe)
    machine.run("mknod -m 666 /dev/probe c 10 200; chmod 644 /opt/probe.py; systemctl daemon-reload")
    outside = json.loads(
        machine.run(
            "cd /tmp; STATE_DIRECTORY=/tmp CACHE_DIRECTORY=/tmp python3 /opt/probe.py; rm -f /home/probe"
        )
    )
    for possible in ("diary", "shadow", "secrets", "namespace", "netlink", "foreign_device", "abroad"):
        assert outside[possible] == "done", possible  # otherwise what follows would prove nothing
    machine.run("systemctl start probe")
    found = json.loads(machine.run("cat /var/lib/probe.json"))
    assert set(found["capabilities"].values()) == {"0000000000000000"}
    assert (found["no_new_privileges"], found["system_call_filter"], found["user"]) == ("1", "2", True)
    assert "done" not in found["written"].values()
    assert set(found["own"].values()) == {"done"}
    for refused in ("home", "diary", "root", "shadow", "secrets", "namespace", "netlink", "packet"):
        assert found[refused] != "done", refused
    assert not found["sees_others"]
    assert found["raise_priority"] != "done"
    assert (found["device"], found["foreign_device"]) == ("done", "Operation not permitted")
    assert (found["abroad"], found["private_network"]) == ("Operation not permitted", "done")


def test_an_instance_has_settings_and_folders_of_its_own(machine):
    machine.note("a second line: defect-monitor@two")
    port = '[metrics]\nport = 9465\n[redis]\nprefix = "two"\n'
    machine.write("/etc/defect-monitor/two.toml", port + CAMERA.format(name="only"))
    machine.run("chgrp defect-monitor /etc/defect-monitor/two.toml; chmod 640 /etc/defect-monitor/two.toml")
    machine.run("systemctl start defect-monitor defect-monitor@two", timeout=320)
    machine.wait_for("redis-cli xlen two:events", lambda output: int(output) > 0, 90)
    assert machine.run("ls /var/lib/defect-monitor/two").split()[0] == "outbox.db"
    machine.run("systemctl stop defect-monitor@two")


def test_upgrade_and_roll_back_keep_settings_and_take_effect_at_a_restart(machine):
    machine.note("upgrade, roll back")
    settings, first = machine.read(SETTINGS), machine.run("readlink /opt/defect-monitor/current")
    again = machine.run("make install", folder=SOURCES)
    assert "installing" not in again  # the same sources: nothing to do
    before = main_process(machine)
    machine.run("sed -i 's/0\\.1\\.0/99.1.0/' pyproject.toml monitor/__init__.py", folder=SOURCES)
    machine.run("make install", folder=SOURCES, timeout=600)
    assert machine.show("ActiveState", "MainPID") == ["active", before]  # inspection continues meanwhile
    machine.run("systemctl restart defect-monitor", timeout=320)
    assert 'version="99.1.0"' in metric(machine, "defect_monitor_build_info")
    more_events(machine)
    machine.run("make rollback", folder=SOURCES)
    machine.run("systemctl restart defect-monitor", timeout=320)
    assert machine.run("readlink /opt/defect-monitor/current") == first
    assert 'version="99.1.0"' not in metric(machine, "defect_monitor_build_info")
    more_events(machine)
    assert machine.read(SETTINGS) == settings


def test_uninstalling_leaves_settings_and_data(machine):
    machine.note("uninstall")
    settings = machine.read(SETTINGS)
    machine.run("systemctl enable defect-monitor@two; make uninstall", folder=SOURCES, timeout=900)
    assert machine.ask("systemctl list-unit-files --no-legend 'defect-monitor*'") == ""
    assert machine.ask("ls -d /opt/defect-monitor /usr/local/bin/defect-monitor 2>/dev/null") == ""
    assert processes(machine) == []
    assert machine.read(SETTINGS) == settings
    assert "outbox.db" in machine.run("ls /var/lib/defect-monitor")
