"""The delivery half of the daemon in a process of its own, to be killed.

Arguments: URL, outbox file, first number, events a second (0: deliver what waits, then end). Says the id of
each event on standard output once it is kept, as the daemon's log does; at the end how many are left.
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from monitor.publish.disk_shelf import DiskShelf
from monitor.publish.outbox import Outbox
from monitor.publish.redis_sink import RedisSink
from monitor.publish.store import Store
from tests.faults.events import made_parcel

if __name__ == "__main__":
    url, path, number, rate = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    store = Store(100_000, 10**9, DiskShelf(path, sync="process"))
    outbox = Outbox(
        RedisSink(url, timeout=1.0, picture_bytes=10**9), store=store, first_wait=0.05, longest_wait=0.5
    )
    while rate:
        parcel = made_parcel(number, datetime.now(UTC))
        outbox.put(parcel)
        sys.stdout.write(parcel.id + "\n")
        sys.stdout.flush()
        number += 1
        time.sleep(1 / rate)
    left = outbox.drain(60)
    outbox.close()
    sys.stdout.write(f"{left} left\n")
