"""A subscriber in a process of its own, to be killed in the middle of its work.

Arguments: URL, consumer. For each event it writes the id down, works a moment, and acknowledges.
"""

import sys
import time

from monitor import Subscriber

if __name__ == "__main__":
    with Subscriber(sys.argv[1], interval=0.1) as subscriber:
        for event, acknowledge in subscriber.work("archive", sys.argv[2], start="0", takeover=0.5):
            sys.stdout.write(event.id + "\n")
            sys.stdout.flush()
            time.sleep(0.005)
            acknowledge()
