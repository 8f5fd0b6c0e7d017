"""Messages that were set aside are shown."""

from pathlib import Path

from monitor.tools.doctor.outbox import check_set_aside
from tests.support.events import make_parcel
from tests.support.sqlite_faults import opened


def test_messages_that_were_set_aside_are_not_ok(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    assert check_set_aside(None).result == "skipped"
    assert check_set_aside(path).result == "ok"
    with opened(path) as queue:
        queue.append(make_parcel(0))
        queue.commit()
        assert check_set_aside(path).result == "ok"
        queue.set_aside("redis", [(queue.next_batch("redis", 1, 10**9)[0], "TypeError: no")])
        queue.commit()
        answer = check_set_aside(path)
    assert answer.result == "not ok"
    assert "1 messages" in answer.message
    assert "redis never takes them" in answer.message
    assert "TypeError: no" in answer.message
    path.write_bytes(b"no database" * 100)
    assert check_set_aside(path).result == "not ok"
