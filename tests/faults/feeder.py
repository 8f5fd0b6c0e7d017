"""The delivery half of the daemon in a process of its own, to be killed.

Arguments: URL, outbox file, first number, events a second (0: deliver what waits, then end). Says the id of
each event on standard output once it is kept, as the daemon's log does; at the end how many are left.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from monitor.delivery.outbox import Outbox
from monitor.delivery.outbox_queue import OutboxQueue
from monitor.delivery.sender import SinkSender
from monitor.delivery.sinks.redis import RedisSink
from monitor.delivery.sqlite_storage import SqliteStorage
from tests.support.events import make_message

if __name__ == "__main__":
    url, path, number, rate = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    sink = RedisSink(url, daemon=path.name, timeout=1.0, picture_bytes=10**9)
    storage = SqliteStorage(path, sync="process")
    queue = OutboxQueue([sink.name], max_items=100_000, max_bytes=10**9, storage=storage)
    outbox = Outbox(queue, [SinkSender(sink, queue, initial_backoff=0.05, max_backoff=0.5)])
    outbox.start()
    while rate:
        parcel = make_message(number, datetime.now(UTC))
        outbox.wait_until_stored(outbox.put(parcel), 10)
        sys.stdout.write(parcel.id + "\n")
        sys.stdout.flush()
        number += 1
        time.sleep(1 / rate)
    left = outbox.flush(60)
    outbox.close()
    sys.stdout.write(f"{left} left\n")
