"""An archive of samples and labels, as the archiver writes it."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from monitor.events.labels import Label
from monitor.events.samples import Sample
from tests.support.labels import make_label, make_sample

DAY = "2026-11-23"


def append(path: Path, document: Sample | Label) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(document.to_json() + "\n")


class LearningArchive:
    """A folder of one day; `frame` archives a sample, `label` an answer about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.day = root / DAY

    def frame(self, number: int, pixels: np.ndarray | None = None, *, incident: str | None = None) -> Sample:
        sample = make_sample(number).model_copy(update={"incident": incident})
        if pixels is None:
            pixels = np.random.default_rng(number).integers(0, 255, (48, 64, 3)).astype(np.uint8)
        file = self.day / "samples" / f"{sample.id}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(file), pixels)
        append(self.day / "samples.jsonl", sample)
        return sample

    def label(self, sample: Sample, answer: str | None, **options: object) -> Label:
        label: Label = make_label(answer, frame=sample.id, **options)  # type: ignore[arg-type]
        append(self.day / "labels.jsonl", label)
        return label

    def fill(self, frames: int, is_defect: Callable[[int], bool] = lambda number: number % 3 == 0) -> None:
        """Archive frames and answer about each; defects have a box."""
        for number in range(frames):
            sample = self.frame(number)
            if is_defect(number):
                self.label(sample, "defect", defect_kind="scratch", boxes=((10, 5, 20, 12),))
            else:
                self.label(sample, "good")
