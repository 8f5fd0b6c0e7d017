"""Events in Redis as the daemon stores them, for tests that need no daemon."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.events import make_event, make_jpeg

BEGIN = datetime.now(UTC) - timedelta(hours=1)


def store(client: Any, number: int, camera: str = "left", **changes: Any) -> str:
    """Put an event and its images into Redis as the daemon does; return the id of its entry."""
    event = make_event(number, camera)
    keys = {"frame_key": f"defects:frame:{event.id}", "raw_key": f"defects:raw:{event.id}"}
    changes = {"captured_at": BEGIN + timedelta(seconds=number), **changes}
    changes["image"] = event.image.model_copy(update=keys | changes.pop("keys", {}))
    event = event.model_copy(update=changes)
    client.set(keys["frame_key"], make_jpeg(number % 200, 640))
    client.set(keys["raw_key"], make_jpeg(9))
    fields = {"id": event.id, "camera": camera, "event": event.to_json()}
    return str(client.xadd("defects:events", fields).decode())
