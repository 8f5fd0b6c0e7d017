"""Run in the daemon's place by a copy of its unit: prints, as JSON, what a process of the service can do."""

import ctypes
import json
import os
import socket
import sys
from pathlib import Path


def attempt(action):
    """What comes of it: "done", or the name of the error."""
    try:
        action()
    except OSError as error:
        return type(error).__name__ if error.errno is None else os.strerror(error.errno)
    return "done"


def write(path):
    return attempt(lambda: Path(path).write_text("x"))


def make_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def connect(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, 9))
        channel.send(b"x")


status = dict(
    line.split(":\t") for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
)
state, cache = os.environ["STATE_DIRECTORY"], os.environ["CACHE_DIRECTORY"]
json.dump(
    {
        "capabilities": {key: status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "no_new_privileges": status["NoNewPrivs"],
        "system_call_filter": status["Seccomp"],
        "user": os.getuid() != 0,
        "written": {
            folder: write(f"{folder}/probe")
            for folder in (
                *("/", "/etc", "/etc/defect-monitor", "/opt/defect-monitor", "/usr/local/bin", "/var/lib"),
                *("/var/log", "/run", "/home", "/root", "/boot", "/sys/fs/cgroup", "/proc/sys/kernel"),
            )
        },
        "own": {folder: write(f"{folder}/probe") for folder in (state, cache, "/tmp")},
        "home": attempt(lambda: list(Path("/home/someone").iterdir())),
        "diary": attempt(lambda: Path("/home/someone/diary").read_text()),
        "root": attempt(lambda: list(Path("/root").iterdir())),
        "shadow": attempt(lambda: Path("/etc/shadow").read_text()),
        "secrets": attempt(lambda: list(Path("/etc/defect-monitor/secrets").iterdir())),
        "sees_others": Path("/proc/1").exists(),
        "namespace": attempt(make_namespace),
        "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "packet": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
        "raise_priority": attempt(lambda: os.nice(-5)),
        "device": attempt(lambda: Path("/dev/full").open("rb").close()),
        "foreign_device": attempt(lambda: Path("/dev/probe").open("rb").close()),
        "abroad": attempt(lambda: connect("8.8.8.8")),
        "private_network": attempt(lambda: connect("127.0.0.1")),
    },
    sys.stdout,
)
