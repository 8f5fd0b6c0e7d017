"""A name server that can be switched off, and a way to start a process that asks it and nobody else.

The process gets a mount namespace of its own with its own resolv.conf and hosts: that needs root, as does
port 53.
"""

import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

ADDRESS = "127.0.0.77"


NAME = "camera.test"


_ANSWER_OF_127_0_0_1 = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"


def why_absent() -> str | None:
    """Why a process cannot be given a name server of ours here, None if it can."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ADDRESS, 53))
            return None
    return "a private resolver needs root, mount namespaces (unshare) and port 53"


class Resolver:
    """Answers that `camera.test` is 127.0.0.1, for no time at all, so that nobody remembers it.

    `mode`: `answering`; `unknown`: no such name; `silent`: no answer.
    """

    def __init__(self) -> None:
        self.mode: Literal["answering", "unknown", "silent"] = "answering"
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ADDRESS, 53))
        self._thread = threading.Thread(target=self._run, name="resolver", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", (ADDRESS, 53))  # an empty question ends it
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            question, sender = self._socket.recvfrom(512)
            if not question:
                return
            self.asked += 1
            if self.mode != "silent":
                self._socket.sendto(_answer(question, known=self.mode == "answering"), sender)


def _answer(query: bytes, *, known: bool) -> bytes:
    """The answer to a query (RFC 1035, section 4): the name has one IPv4 address and no other."""
    end = query.index(0, 12) + 5  # the question: a name that ends in 0, type, class
    question = query[12:end]
    labels = question[:-5].lower()
    known = known and labels == b"".join(bytes([len(part)]) + part.encode() for part in NAME.split("."))
    address = known and question[-4:-2] == b"\x00\x01"
    flags = b"\x85\x80" if known else b"\x85\x83"  # authoritative; 3: no such name
    counts = b"\x00\x01" + (b"\x00\x01" if address else b"\x00\x00") + b"\x00\x00\x00\x00"
    return query[:2] + flags + counts + question + (_ANSWER_OF_127_0_0_1 if address else b"")


def python(folder: Path) -> list[str]:
    """What starts a Python that asks our resolver alone."""
    resolv, hosts = folder / "resolv.conf", folder / "hosts"
    resolv.write_text(f"nameserver {ADDRESS}\n")
    hosts.write_text("127.0.0.1 localhost\n")
    script = 'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'
    return ["unshare", "-m", "sh", "-c", script, "sh", str(resolv), str(hosts), sys.executable]
