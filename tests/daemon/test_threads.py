"""The daemon's cores belong to the network."""

import os
import subprocess
import sys

PROGRAM = """
import sys
import monitor.cli
assert not {"numpy", "cv2"} & set(sys.modules), "loaded too early to be told"
from monitor.cli.process import limit_library_threads
limit_library_threads()
import os
import cv2, numpy
picture = numpy.ones((600, 600), numpy.float32)
picture @ picture
cv2.GaussianBlur(picture, (9, 9), 3)
print(len(os.listdir("/proc/self/task")))
"""


def test_numpy_and_opencv_work_on_the_thread_that_asks() -> None:
    free = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=free, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 1
