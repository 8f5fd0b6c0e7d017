"""The clocks, as the kernel tells of them."""

import ctypes
import errno
import subprocess
import time

from monitor.tools.doctor.clock import (
    ClockStatus,
    check_monotonic_clock,
    check_time_sync,
    kernel_time,
    time_services,
)
from tests.support.redis_servers import wait_until


def nobody() -> list[str]:
    return []


def test_a_clock_that_goes_back_is_not_ok() -> None:
    assert check_monotonic_clock().result == "ok"
    answer = check_monotonic_clock([1.0, 2.0, 1.5, 3.0])
    assert answer.result == "not ok"
    assert "back by 500000 µs" in answer.message


def test_a_time_that_is_kept_is_ok_with_its_largest_error() -> None:
    answer = check_time_sync(lambda: ClockStatus(True, 0.0125), lambda: ["chronyd"])
    assert answer.result == "ok"
    assert "by chronyd, off by at most 12.5 ms" in answer.message


def test_a_time_that_nobody_keeps_is_mended_by_a_program_that_does() -> None:
    answer = check_time_sync(lambda: ClockStatus(False, 16), nobody)
    assert answer.result == "not ok"
    assert "apt install chrony" in answer.remedy


def test_a_keeper_that_has_not_set_the_clock_is_named() -> None:
    answer = check_time_sync(lambda: ClockStatus(False, 16), lambda: ["chronyd"])
    assert answer.result == "not ok"
    assert "chronyd runs" in answer.message


def test_a_kernel_that_may_not_be_asked_is_no_fault() -> None:
    def refuse() -> ClockStatus:
        raise OSError(errno.EPERM, "adjtimex")

    assert check_time_sync(refuse, nobody).result == "skipped"


def test_the_kernel_is_understood() -> None:
    """The C library, which reads the same structure, says the same."""
    status = kernel_time()
    assert 0 <= status.largest_error < 86_400
    # ntp_gettime fills {seconds, microseconds, largest error, …} from the same call.
    answer = (ctypes.c_long * 16)()
    state = ctypes.CDLL(None).ntp_gettime(ctypes.byref(answer))
    assert abs(answer[0] - time.time()) < 60
    assert (state != 5) == status.synchronised
    assert abs(answer[2] / 1e6 - status.largest_error) < 1


def test_a_running_keeper_is_found_by_its_name(tmp_path) -> None:
    program = tmp_path / "chronyd"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        try:
            wait_until(lambda: "chronyd" in time_services())  # its name comes a moment after its start
        finally:
            process.kill()
