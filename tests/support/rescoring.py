"""An archive of small frames and a model that sees brightness; run as a module, it rescores until killed."""

import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.cluster import rescoring
from monitor.cluster.frame_scorer import ScoringOptions
from monitor.inference.handle import Classification, ModelHandle
from monitor.learning.datasets.tiling import Tiling
from monitor.models.bundle import ModelBundle, load_bundle
from monitor.models.registry import resolve_model_path
from tests.support.fake_model import FakeModel, classification_by_brightness, spec_of


@dataclass(frozen=True, slots=True)
class BrightnessOptions(ScoringOptions):
    """Loads a model whose score is the brightness of its input; `seconds` slow it down."""

    tiling: Tiling = field(default_factory=Tiling)
    seconds: float = 0.0

    def load(self, bundle: ModelBundle) -> ModelHandle:
        def classify(inputs: NDArray[np.uint8]) -> Classification:
            time.sleep(self.seconds)
            return classification_by_brightness(inputs)

        return FakeModel(spec_of(bundle.card.name, threshold=bundle.card.threshold), classify)


def bundle_of(**changes: Any) -> ModelBundle:
    """The shipped bundle with changes of its card, for `BrightnessOptions`, which load no network."""
    bundle = load_bundle(resolve_model_path("dagm-class1"))
    return replace(bundle, card=bundle.card.model_copy(update={"threshold": 0.5, **changes}))


def write_frame(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", np.full((8, 12, 3), shade, np.uint8))
    assert done
    path.write_bytes(bytes(data))


def main(archive: str, out: str) -> None:
    """Rescore in small parts, slowly enough to be killed, and write how many frames this process scored."""
    rescoring._BLOCK, rescoring._PART = 4, 8
    scored: list[int] = []
    rescoring.rescore(
        archive,
        bundle_of(),
        Path(out),
        BrightnessOptions(seconds=0.02),
        on_scored=lambda done, total: scored.append(done),
    )
    sys.stdout.write(f"{scored[-1] - scored[0]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
