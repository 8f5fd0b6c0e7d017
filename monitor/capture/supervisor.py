"""Keep a capture process running: start it, receive its messages, replace it when it hangs or dies."""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Literal, Protocol

from monitor.capture.backoff import MAX_DELAY as LONGEST_DELAY
from monitor.capture.backoff import reconnect_delays
from monitor.capture.config import CaptureConfig
from monitor.capture.messages import (
    MAX_MESSAGE_BYTES,
    BufferMapped,
    FrameInspected,
    FrameTaken,
    ImageRequested,
    SlotReleased,
    SourceEnded,
    WorkerMessage,
    decode,
    encode,
)
from monitor.capture.shared_memory import SharedBufferReader

logger = logging.getLogger(__name__)


_KILL_TIMEOUT = 2.0
"""Seconds after which a killed process that has not ended is reported."""


_POLL_INTERVAL = 0.25
"""Seconds between two checks of a process that sends nothing."""


class WorkerProcess(Protocol):
    """A capture process; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def kill(self) -> None:
        """Kill it immediately."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, or minus the number of the signal that ended it."""


class WorkerListener(Protocol):
    """Receives the messages of the process, in the supervisor's thread."""

    def on_message(self, message: WorkerMessage, ring: SharedBufferReader | None) -> None:
        """Handle one message; frames lie in the shared memory `ring`."""

    def on_silence(self, seconds: float, ring: SharedBufferReader | None) -> Literal["healthy", "hung"]:
        """Return `hung` if the process must be replaced after `seconds` without a message."""

    def on_exit(self, cause: str, detail: str) -> bool:
        """Return whether to start another process after one that ended without a message."""


class ProcessSupervisor:
    """Keep a process running until it reports its end, or `stop` is called.

    `launch` starts the process with the other end of a connection, which the process then owns. It is
    called in a thread that lives as long as the process. `on_finished` is called after the last message.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[socket.socket], WorkerProcess],
        listener: WorkerListener,
        on_finished: Callable[[], None],
        delays: Callable[[], Iterator[float]] = reconnect_delays,
    ) -> None:
        self.progressed_at = time.monotonic()
        self._name = name
        self._launch = launch
        self._listener = listener
        self._on_finished = on_finished
        self._delays = delays
        self._connection: socket.socket | None = None
        self._process: WorkerProcess | None = None
        self._lock = threading.Lock()  # guards the two above
        self._stopping = threading.Event()
        self._abandoned = False  # the process was killed; it may be unable to end
        self._thread = threading.Thread(target=self._run, name=f"capture {name}", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process id, None while no process runs."""
        with self._lock:
            return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the supervision; call this once."""
        self._thread.start()

    def request_image(self) -> None:
        """Ask the process for the pixels of the next frame that is not inspected; never waits."""
        with self._lock, contextlib.suppress(OSError):
            if self._connection is not None:
                self._connection.send(encode(ImageRequested()), socket.MSG_DONTWAIT)

    def stop(self, timeout: float) -> bool:
        """Ask the process to end, kill it after `timeout` seconds; return whether it ended by itself."""
        self._stopping.set()
        with self._lock:
            self._ask_to_stop()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout)
        if not self._thread.is_alive():
            return True
        with self._lock:
            if self._process is not None:
                self._process.kill()
        self._abandoned = True
        self._thread.join(timeout)
        return False

    def _ask_to_stop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)

    def _run(self) -> None:
        delays = self._delays()
        is_finished = False
        while not is_finished and not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                is_finished = self._run_process()
            except Exception as error:
                logger.exception("unexpected failure while supervising camera %s", self._name)
                is_finished = not self._listener.on_exit(
                    "fault", f"its supervision failed: {type(error).__name__}"
                )
            if time.monotonic() - started_at > LONGEST_DELAY:
                delays = self._delays()
            if not is_finished:
                self._stopping.wait(next(delays))
        self._on_finished()

    def _run_process(self) -> bool:
        """Run one process and receive its messages; return whether no other process is needed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            try:
                process = self._launch(theirs)
            except OSError as error:
                theirs.close()
                return not self._listener.on_exit(
                    "fault", f"no capture process can be started: {error.strerror}"
                )
            with self._lock:
                self._connection, self._process = ours, process
                if self._stopping.is_set():
                    self._ask_to_stop()
            try:
                ending = self._receive_all(ours)
            finally:
                code = self._end(process)
                with self._lock:
                    self._connection = self._process = None
        if ending == "died" and not self._stopping.is_set():
            return not self._listener.on_exit("crashed", f"the capture process {_describe_exit(code or 0)}")
        return ending == "ended"

    def _end(self, process: WorkerProcess) -> int | None:
        """Kill the process and return its exit code; None where the daemon stops before it has ended.

        A process blocked in the kernel (state D: a driver or network disk that hangs) does not end. No other
        process is started meanwhile, because it would hang too. The supervision itself continues.
        """
        process.kill()
        started_at = time.monotonic()
        reported = False
        while True:
            self.progressed_at = time.monotonic()
            try:
                return process.wait(_POLL_INTERVAL)
            except subprocess.TimeoutExpired:
                if self._stopping.is_set():
                    logger.warning("capture process cannot be killed", extra={"camera": self._name})
                    return None
            if not reported and time.monotonic() - started_at > _KILL_TIMEOUT:
                reported = True
                detail = "the capture process hangs in the kernel and cannot be killed"
                self._listener.on_exit("stalled", detail)

    def _receive_all(self, connection: socket.socket) -> Literal["ended", "hung", "died"]:
        """Receive the messages of a process until it ends, hangs or dies."""
        silent = 0.0
        ring: SharedBufferReader | None = None
        listening = select.poll()
        listening.register(connection, select.POLLIN)
        while True:
            self.progressed_at = time.monotonic()
            if self._abandoned:
                return "died"
            if not listening.poll(_POLL_INTERVAL * 1000):
                # Counted in polls, not by the clock: while the machine is suspended, nothing is observed.
                silent += _POLL_INTERVAL
                if self._listener.on_silence(silent, ring) == "hung" and not self._stopping.is_set():
                    return "hung"
                continue
            silent = 0.0
            try:
                packet, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 1)
            except ConnectionResetError:  # it died with unread input; its earlier messages still arrive
                continue
            if not packet:
                return "died"
            message = decode(packet)
            if isinstance(message, BufferMapped):
                ring = _map_buffer(message, descriptors[0], connection)
            elif isinstance(message, SourceEnded):
                return "ended"
            else:
                self._listener.on_message(message, ring)


def _map_buffer(message: BufferMapped, descriptor: int, connection: socket.socket) -> SharedBufferReader:
    def release(slot: int) -> None:
        with contextlib.suppress(OSError):  # a dead process no longer needs its slots
            connection.send(encode(SlotReleased(message.ring, slot)))

    def confirm(receipt: int) -> None:
        with contextlib.suppress(OSError):
            connection.send(encode(FrameInspected(receipt)))

    def announce(slot: int) -> None:
        with contextlib.suppress(OSError):
            connection.send(encode(FrameTaken(message.ring, slot)))

    return SharedBufferReader(
        descriptor, message.slots, message.size, release, inspected=confirm, taken=announce
    )


def _describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended by itself with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def spawn_worker(name: str, order: CaptureConfig, connection: socket.socket) -> "subprocess.Popen[bytes]":
    """Start the capture process of the camera `name` on `connection`, which it then owns.

    Call this in a thread that lives as long as the process is needed: the process ends with the thread.
    """
    process = subprocess.Popen(  # noqa: S603 (this interpreter, this module)
        # -P: a file in the working directory must not shadow a library.
        [sys.executable, "-P", "-m", "monitor.capture.worker", name, str(connection.fileno())],
        pass_fds=[connection.fileno()],
        stdin=subprocess.PIPE,
        # It handles one frame at a time: library threads would only take cores from the network.
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    connection.close()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps(asdict(order)).encode())
    return process
