"""The signed log: any change, removal or reordering of lines shows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from monitor.errors import MonitorError, UsageError
from monitor.tools.challenge.signed_log import SignedLog, read_key, read_log

KEY = b"0123456789abcdef"
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
NAMES = st.text(min_size=1).filter(lambda it: it not in {"kind", "previous", "signature"})
RECORDS = st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=4)


def write(path: Path, records: Sequence[dict[str, Any]]) -> list[bytes]:
    """Write a log with a first and a last line around `records`; return its lines."""
    path.unlink(missing_ok=True)
    log = SignedLog(path, KEY)
    log.append("challenge", {"set": "x"})
    for record in records:
        log.append("image", record)
    log.append("summary", {"found": len(records)})
    log.close()
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "log.jsonl"


@given(RECORDS)
def test_an_unchanged_log_is_read_as_it_was_written(path: Path, records: list[dict[str, Any]]) -> None:
    write(path, records)
    found = read_log(path, KEY)
    assert [it["kind"] for it in found] == ["challenge", *["image"] * len(records), "summary"]
    assert [
        {name: it[name] for name in record} for it, record in zip(found[1:], records, strict=False)
    ] == records


@given(RECORDS, st.data())
def test_any_changed_byte_shows(path: Path, records: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = b"".join(write(path, records))
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(max_size=2).filter(lambda it: it != whole[place : place + 1]))
    path.write_bytes(whole[:place] + other + whole[place + 1 :])
    with pytest.raises(MonitorError):
        read_log(path, KEY)


@given(RECORDS, st.data())
def test_any_other_choice_or_order_of_lines_shows(
    path: Path, records: list[dict[str, Any]], data: st.DataObject
) -> None:
    lines = write(path, records)
    others = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 1) | st.permutations(lines))
    assume(others != lines)
    path.write_bytes(b"".join(others))
    with pytest.raises(MonitorError):
        read_log(path, KEY)


@given(RECORDS, st.data())
def test_any_cut_shows(path: Path, records: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = b"".join(write(path, records))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(MonitorError):
        read_log(path, KEY)


def test_a_line_signed_with_another_key_or_taken_from_another_log_shows(path: Path) -> None:
    lines = write(path, [{"file": "a.png", "outcome": "clean"}])
    with pytest.raises(MonitorError, match="line 1: changed, or signed with another key"):
        read_log(path, b"another key of 16 bytes")
    better = write(path, [{"file": "a.png", "outcome": "defect"}])
    path.write_bytes(b"".join([lines[0], better[1], lines[2]]))
    with pytest.raises(MonitorError, match="line 3: lines before it are missing"):
        read_log(path, KEY)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b"\xff", json.dumps({"kind": "x"}).encode()])
def test_a_line_of_something_else_shows(path: Path, line: bytes) -> None:
    path.write_bytes(line + b"\n")
    with pytest.raises(MonitorError, match="line 1: changed"):
        read_log(path, KEY)


def test_an_interrupted_log_has_no_end(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "new" / "log.jsonl", KEY)
    log.append("challenge", {})
    log.close()
    with pytest.raises(MonitorError, match="the end is missing"):
        read_log(log.path, KEY)
    with pytest.raises(UsageError, match="cannot be created: File exists"):
        SignedLog(log.path, KEY)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_log(tmp_path / "none.jsonl", KEY)


def test_a_key_is_a_file_of_16_bytes_or_more(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_key(tmp_path / "none")
    (tmp_path / "short").write_text("secret\n")
    with pytest.raises(UsageError, match="has 6 bytes, it needs 16: `openssl rand -hex 32 >"):
        read_key(tmp_path / "short")
    (tmp_path / "key").write_bytes(KEY + b"\r\n")
    assert read_key(tmp_path / "key") == KEY
