"""What the operator's page costs while 20 viewers fetch live frames."""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from monitor.redis_streams.preview import PreviewPublisher
from monitor.tools.bench.daemon_process import processor_seconds
from tests.support.daemon_process import free_port, write_config
from tests.support.page import PageUnderTest, run_page
from tests.support.redis_servers import EMBEDDED, ServerProcess, server_program

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

VIEWERS, SECONDS, CAMERAS = 20, 30, ("left", "right")


@contextmanager
def line(folder: Path) -> Iterator[PageUnderTest]:
    """A page whose cameras show a new live frame twice a second; no daemon takes the processors."""
    server = ServerProcess(folder, server_program(EMBEDDED))
    server.start()
    cameras = "".join(f'[[camera]]\nname = "{name}"\nsource = "simulate:"\n' for name in CAMERAS)
    publisher = PreviewPublisher(server.url, "defects")
    publisher.start()
    end = threading.Event()
    surface = np.random.default_rng(1).integers(60, 200, (64, 64, 3), np.uint8)
    image = cv2.resize(surface, (640, 480), interpolation=cv2.INTER_CUBIC)

    def film() -> None:
        number = 0
        while not end.wait(0.1):
            for name in CAMERAS:
                publisher.show(name, number, datetime.now(UTC), image)
            number += 1

    threading.Thread(target=film, daemon=True).start()
    config = write_config(folder, cameras, url=server.url, port=free_port())
    try:
        with run_page(config) as page:
            yield page
    finally:
        end.set()
        publisher.close()
        server.stop()


class Viewer(threading.Thread):
    """A browser on the Line view: it follows the live stream and fetches each frame that this names."""

    def __init__(self, page: PageUnderTest, end: threading.Event) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(page.address)
        self._place = str(parts.hostname), parts.port
        self._end = end
        self.frames = 0

    def run(self) -> None:
        stream = http.client.HTTPConnection(*self._place, timeout=30)
        images = http.client.HTTPConnection(*self._place, timeout=30)
        stream.request("GET", "/stream?view=line")
        answer = stream.getresponse()
        while not self._end.is_set():
            line = answer.readline().decode()
            for address in re.findall(r'src="(/live\.jpg[^"]+)"', line):
                images.request("GET", address.replace("&amp;", "&"))
                if images.getresponse().read():
                    self.frames += 1
        stream.close()
        images.close()


def test_twenty_viewers_cost_less_than_half_a_core(tmp_path: Path) -> None:
    with line(tmp_path) as page:
        end = threading.Event()
        viewers = [Viewer(page, end) for _ in range(VIEWERS)]
        for viewer in viewers:
            viewer.start()
        time.sleep(5)
        began, used = time.monotonic(), processor_seconds(page.process.pid)
        frames = sum(viewer.frames for viewer in viewers)
        time.sleep(SECONDS)
        span = time.monotonic() - began
        share = (processor_seconds(page.process.pid) - used) / span
        rate = (sum(viewer.frames for viewer in viewers) - frames) / span / VIEWERS
        end.set()
        print(f"\n{VIEWERS} viewers, {rate:.1f} live frames/s each: {share:.2f} of a core")
        assert rate > 0.5
        assert share < 0.5
