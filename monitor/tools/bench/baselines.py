"""Runs the baselines of the daemon, each in a separate process.

`python -m monitor.tools.bench.baselines WORK ...`:

`bare` is the network alone, as the daemon runs it, on frames in memory. `script` is the loop that a user
would write: OpenCV reads, `model.predict` classifies, the article's function explains flagged frames.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from monitor.errors import MonitorError
from monitor.records import Image

Work = Literal["bare", "script"]


def run_loop(work: Work, config: Path, video: Path, seconds: float) -> dict[str, float]:
    """Run `work` on the video for at least `seconds`; return `fps`, and `flagged` frames."""
    done = subprocess.run(  # noqa: S603 (this program)
        [sys.executable, "-m", "monitor.tools.bench.baselines", work, str(config), str(video), str(seconds)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MonitorError(f"the comparison '{work}' failed: {done.stderr.strip().splitlines()[-1:]}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def bare_network(config: Path, video: Path, seconds: float) -> dict[str, float]:
    """Run the network alone on inputs in memory, in batches as large as the daemon's."""
    from monitor.bootstrap import inference as build_inference  # noqa: PLC0415 (TensorFlow, in the process that needs it)
    from monitor.imaging.geometry import resize_to_input  # noqa: PLC0415
    from monitor.models.bundle import load_bundle  # noqa: PLC0415
    from monitor.models.registry import resolve_model_path  # noqa: PLC0415
    from monitor.settings import load_settings  # noqa: PLC0415

    settings = load_settings(config)
    model = build_inference.build_model(settings, load_bundle(resolve_model_path(settings.model.path)))
    model.load()
    size = settings.inference.batch
    inputs = np.stack([resize_to_input(frame, model.spec.input_size) for frame in _frames(video, 8 * size)])
    batches = [inputs[start : start + size] for start in range(0, len(inputs) - size + 1, size)]
    return _timed(lambda turn: len(model.classify(batches[turn % len(batches)]).scores), seconds)


def naive_loop(config: Path, video: Path, seconds: float) -> dict[str, float]:
    """Run the whole video repeatedly; stop at its end, so that defects have their true share."""
    from monitor.imaging.geometry import resize_to_input  # noqa: PLC0415
    from monitor.models.bundle import load_bundle  # noqa: PLC0415
    from monitor.models.preprocessing import preprocess  # noqa: PLC0415
    from monitor.models.registry import resolve_model_path  # noqa: PLC0415
    from monitor.settings import load_settings  # noqa: PLC0415
    from monitor.tools.bench.cam_methods import reference_faster_score_cam  # noqa: PLC0415 (TensorFlow, in the process that needs it)

    bundle = load_bundle(resolve_model_path(load_settings(config).model.path))
    card, model = bundle.card, bundle.keras_model()
    flagged = 0

    def through(turn: int) -> int:
        nonlocal flagged
        count = 0
        for frame in _frames(video, 3 if turn < 0 else None):
            x = preprocess(card, resize_to_input(frame, card.input_size)[None])
            score = model.predict(x, verbose=0)[0, card.defect_class]
            if score >= card.threshold or turn < 0:
                reference_faster_score_cam(model, card.cam_layer, x, 10)
                flagged += 1
            count += 1
        return count

    through(-1)  # warm-up
    flagged = 0
    return {**_timed(through, seconds), "flagged": flagged}


def _timed(work: Callable[[int], int], seconds: float) -> dict[str, float]:
    """Measure the frames a second of `work`, which takes the number of its turn and returns frames done."""
    frames, turn, started_at = 0, 0, time.monotonic()
    while time.monotonic() - started_at < seconds:
        frames += work(turn)
        turn += 1
    return {"fps": frames / (time.monotonic() - started_at)}


def _frames(video: Path, most: int | None) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(video))
    try:
        count = 0
        while most is None or count < most:
            read, frame = capture.read()
            if not read:
                return
            yield np.asarray(frame, np.uint8)
            count += 1
    finally:
        capture.release()


if __name__ == "__main__":
    name, settings_file, recording, duration = sys.argv[1:]
    loop = {"bare": bare_network, "script": naive_loop}[name]
    print(json.dumps(loop(Path(settings_file), Path(recording), float(duration))))  # noqa: T201 (read by `run_loop`)
