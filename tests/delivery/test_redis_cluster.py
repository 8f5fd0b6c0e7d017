"""On a cluster of several nodes, also while the keys move from one to another."""

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from monitor.cli.events import app
from monitor.delivery.sinks.redis import RedisSink
from monitor.errors import DeliveryError
from monitor.redis_streams.subscriber import Subscriber
from tests.support.events import deliver, make_parcel
from tests.support.redis_cluster import PREFIX, Cluster
from tests.support.redis_servers import wait_until

RUN = "the-same"


@pytest.fixture
def cluster(make_server: Callable[..., Any]) -> Cluster:
    return Cluster(make_server)


def stored(cluster: Cluster) -> list[str]:
    with Subscriber(cluster.url, PREFIX) as subscriber:
        return [event.id for event in subscriber.stored()]


def test_events_and_pictures_follow_their_slot_through_moves_and_failures(cluster: Cluster) -> None:
    parcels = [make_parcel(number) for number in range(4)]
    sink, counting = RedisSink(cluster.url, PREFIX), RedisSink(cluster.url, PREFIX, replicas=1)
    assert deliver(sink, [parcels[0]], RUN) == deliver(counting, [parcels[0]], RUN) == 1
    cluster.swap()  # both still believe in the old place
    assert delivered(sink, parcels[1])
    assert delivered(counting, parcels[1])
    gone = cluster.kill_primary()
    assert delivered(sink, parcels[2])
    with pytest.raises(DeliveryError, match="0 replicas in step"):
        delivered(counting, parcels[2], patience=1)
    gone.start()
    wait_until(cluster.whole, 60)
    assert delivered(counting, parcels[3])
    assert stored(cluster) == [parcel.id for parcel in parcels]
    with Subscriber(cluster.url, PREFIX) as subscriber:
        assert [subscriber.picture(event) for event in subscriber.stored()] == [
            parcel.annotated_jpeg for parcel in parcels
        ]
    out = CliRunner().invoke(
        app, ["tail", "--stored", "--count", "4", "--url", cluster.url, "--prefix", PREFIX]
    )
    assert (out.exit_code, len(out.stdout.splitlines())) == (0, 4)
    sink.close()
    counting.close()


def delivered(sink: RedisSink, parcel: Any, patience: float = 30) -> bool:
    """Try again as the outbox does, until it is through."""
    failures: list[DeliveryError] = []

    def through() -> bool:
        try:
            return deliver(sink, [parcel], RUN) == 1
        except DeliveryError as error:
            failures.append(error)
            return False

    try:
        wait_until(through, patience)
    except AssertionError:
        raise failures[-1] from None
    return True
