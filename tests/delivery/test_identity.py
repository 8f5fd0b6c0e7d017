"""A daemon's identity outlives its restart, and no two daemons share one."""

from pathlib import Path

import pytest

from monitor.delivery import identity
from monitor.delivery.identity import daemon_identity


@pytest.fixture
def machine_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(identity, "_CONTAINER_MARKS", (tmp_path / "no-mark",))
    path = tmp_path / "machine-id"
    path.write_text("0123456789abcdef\n")
    return path


def test_it_is_the_same_after_a_restart_and_another_on_a_pc_of_the_same_name(
    tmp_path: Path, machine_id: Path
) -> None:
    first = daemon_identity(tmp_path / "a" / "outbox.db", machine_id=machine_id)
    assert daemon_identity(tmp_path / "a" / "outbox.db", machine_id=machine_id) == first
    assert daemon_identity(tmp_path / "b" / "outbox.db", machine_id=machine_id) != first
    assert " " not in first


def test_a_clone_with_a_machine_id_of_its_own_gets_an_identity_of_its_own(
    tmp_path: Path, machine_id: Path
) -> None:
    outbox = tmp_path / "outbox.db"
    first = daemon_identity(outbox, machine_id=machine_id)
    machine_id.write_text("fedcba9876543210\n")
    second = daemon_identity(outbox, machine_id=machine_id)
    assert second != first
    assert daemon_identity(outbox, machine_id=machine_id) == second


def test_a_container_keeps_it_with_its_volume(tmp_path: Path, machine_id: Path) -> None:
    (tmp_path / "no-mark").touch()
    outbox = tmp_path / "volume" / "outbox.db"
    first = daemon_identity(outbox, machine_id=machine_id)
    machine_id.write_text("that of the next container\n")
    assert daemon_identity(outbox, machine_id=machine_id) == first


@pytest.mark.parametrize("stored", [b"", b"\xff\xfe", b"a b c\n\n", b"x" * 500, b"../../x 1"])
def test_a_file_that_holds_something_else_is_replaced(
    tmp_path: Path, machine_id: Path, stored: bytes
) -> None:
    outbox = tmp_path / "outbox.db"
    (tmp_path / "outbox.db.identity").write_bytes(stored)
    found = daemon_identity(outbox, machine_id=machine_id)
    assert daemon_identity(outbox, machine_id=machine_id) == found


def test_without_a_file_it_is_random_for_the_run_and_logged(
    tmp_path: Path, machine_id: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert daemon_identity(None) != daemon_identity(None)
    (tmp_path / "file").write_text("no folder")
    outbox = tmp_path / "file" / "outbox.db"
    assert daemon_identity(outbox, machine_id=machine_id) != daemon_identity(outbox, machine_id=machine_id)
    assert sum("valid for this run only" in message for message in caplog.messages) == 4
