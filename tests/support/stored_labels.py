"""Samples and labels in Redis, for tests that need no daemon."""

from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.events.labels import Label
from monitor.events.samples import SampleReason
from tests.support.labels import make_png, make_sample

BEGIN = datetime.now(UTC) - timedelta(hours=1)


def store_sample(
    client: Any, number: int, camera: str = "left", reason: SampleReason = "random", score: float = 0.1
) -> str:
    """Put a sample and its frame into Redis as the daemon does; return its id."""
    sample = make_sample(number, camera, reason, score)
    sample = sample.model_copy(update={"captured_at": BEGIN + timedelta(seconds=number)})
    client.set(sample.image.png_key, make_png(shade=number % 200))
    fields = {"id": sample.id, "camera": camera, "sample": sample.to_json()}
    client.xadd("defects:samples", fields)
    return sample.id


def stored_labels(client: Any) -> list[Label]:
    """All labels in Redis, the oldest first."""
    return [Label.from_json(fields[b"label"]) for _, fields in client.xrange("defects:labels")]
