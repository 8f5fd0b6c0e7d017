"""Count good images that the default limits refuse and bad ones that they find: monitor/capture/README.md.

All pictures of DAGM's Class1 and of the magnetic tiles, good and defective, each as it is and changed as
cameras and coding change it; then each spoiled in every way. `make soak` runs it.
"""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import pytest

from monitor.capture.image_checks import unusable_reason
from monitor.learning.evaluate.corruptions import brightness, h264, jpeg, noise
from monitor.records import Image
from monitor.simulate.surface import SurfaceGenerator
from tests.support.corrupted_images import FAULTS, HIDDEN_BY_GRAIN, LIMITS, dagm_pictures, tile_pictures

pytestmark = pytest.mark.soak

MILD: dict[str, Callable[[Image], Image]] = {
    "as they are": lambda picture: picture,
    "H.264, 1 bit a pixel": lambda picture: h264(picture, 1.0),
    "JPEG quality 50": lambda picture: jpeg(picture, 50),
    "brightness -20 %": lambda picture: brightness(picture, 0.8),
    "brightness +20 %": lambda picture: brightness(picture, 1.2),
    "noise, σ 8": lambda picture: noise(picture, 8),
    "turned by 90°": lambda picture: np.ascontiguousarray(np.rot90(picture)),
}


def test_the_default_limits(dagm_root: Path) -> None:
    line = SurfaceGenerator(11, 512, 512, defect_rate=0.5, textures=32)
    surfaces = {
        "DAGM Class1": dagm_pictures(dagm_root, every=1),
        "magnetic tiles": tile_pictures(dagm_root, every=1),
        "simulated": [line.picture(number) for number in range(400)],
    }
    seen = refused = 0
    for name, pictures in surfaces.items():
        for change in MILD.values():
            seen += len(pictures)
            refused += sum(unusable_reason(change(picture), LIMITS) is not None for picture in pictures)
        print(f"\n{name}: {len(pictures)} pictures; up to here {refused} of {seen} good ones refused")
        random = np.random.default_rng(1)
        for fault, spoil in FAULTS.items():
            reasons = [unusable_reason(spoil(picture, random), LIMITS) or "" for picture in pictures]
            found = sum(reason.startswith(fault.partition(":")[0]) for reason in reasons)
            print(f"  {fault}: {found} of {len(pictures)}")
            if name == "magnetic tiles" or fault not in HIDDEN_BY_GRAIN:
                assert found >= 0.99 * len(pictures)
    assert refused <= seen / 1000


def test_what_a_look_costs(dagm_root: Path) -> None:
    (picture,) = dagm_pictures(dagm_root, every=10**6)
    for width, height in ((512, 512), (4000, 3000)):
        image = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        looking = median(_seconds(lambda image=image: unusable_reason(image, LIMITS)) for _ in range(30))
        coded = cv2.imencode(".jpg", image)[1]
        reading = median(_seconds(lambda coded=coded: cv2.imdecode(coded, 1)) for _ in range(10))
        print(f"\n{width}x{height}: {looking * 1000:.2f} ms, {looking / reading:.0%} of decoding its JPEG")


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began
