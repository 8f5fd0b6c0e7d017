"""Score the frames of an archive, block by block: the same code in this process and in Ray's actors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from monitor.cluster.archive_frames import open_location
from monitor.errors import ImageError, UsageError
from monitor.imaging.files import decode_image
from monitor.imaging.geometry import resize_to_input
from monitor.inference.candidates import InferenceOptions
from monitor.inference.handle import Classification, ModelHandle
from monitor.inference.local import LocalModel
from monitor.learning.datasets.fingerprint import image_hash
from monitor.learning.datasets.tiling import Tiling
from monitor.models.bundle import ModelBundle
from monitor.models.packing import unpack_bundle
from monitor.records import Image

FRAMES = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("modified", pa.int64()), ("camera", pa.string())]
)
"""What is to be scored."""


SCORES = pa.schema(
    [
        ("path", pa.string()),
        ("size", pa.int64()),
        ("modified", pa.int64()),
        ("frame", pa.string()),  # hash of its pixels, as in the cards of models
        ("score", pa.float32()),
        ("novelty", pa.float32()),
        ("kind", pa.string()),
        ("error", pa.string()),  # why there is no score
    ]
)
"""One row a frame. `score` is the highest of its tiles, 0..1, `novelty` the largest distance of them."""


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How frames are cut and classified.

    `tiling` holds for all frames unless `camera_tilings` gives one for each camera. `bit_depth` (8..16) is
    that of files of 16 bits that do not declare it. The network runs in single precision on TensorFlow, as in
    an evaluation. One input a pass (`batch`) gives a score that does not depend on the other frames.
    """

    tiling: Tiling
    camera_tilings: Mapping[str, Tiling] = field(default_factory=dict)
    bit_depth: int | None = None
    device: Literal["auto", "gpu", "cpu"] = "auto"
    batch: int = 1
    threads: int = 0

    def load(self, bundle: ModelBundle) -> ModelHandle:
        """Load the model of `bundle`; raises ModelError or DeviceError."""
        model = LocalModel(
            bundle,
            InferenceOptions(
                device=self.device,
                runtime="tensorflow",
                precision="fp32",
                threads=self.threads,
                batch=self.batch,
            ),
        )
        model.load()
        return model


class _Frame(NamedTuple):
    row: dict[str, Any]
    tiles: Sequence[Image]


class FrameScorer:
    """Scores blocks of frames of the archive at `location` with a loaded `model`."""

    def __init__(self, location: str, model: ModelHandle, options: ScoringOptions) -> None:
        self._filesystem, self._root = open_location(location)
        self._model, self._options = model, options

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score `block` (`FRAMES`) and return a row for each frame (`SCORES`), in any order.

        A file that is no image gets a row with its error. Raises OSError where the archive fails.
        """
        rows: list[dict[str, Any]] = []
        pending: list[_Frame] = []
        for frame in block.to_pylist():
            row = {name: frame.get(name) for name in SCORES.names}
            rows.append(row)
            try:
                pending.append(self._read(row, frame["camera"]))
            except FileNotFoundError:
                row["error"] = "the file is no longer there"
            except (ImageError, UsageError) as error:
                row["error"] = str(error)
            if sum(len(each.tiles) for each in pending) >= self._options.batch:
                self._score(pending)
                pending = []
        if pending:
            self._score(pending)
        return pa.Table.from_pylist(rows, schema=SCORES)

    def _read(self, row: dict[str, Any], camera: str | None) -> _Frame:
        options = self._options
        with self._filesystem.open_input_stream(f"{self._root}/{row['path']}") as stream:
            image = decode_image(bytes(stream.read()), row["path"], bit_depth=options.bit_depth)
        row["frame"] = image_hash(image)
        tiling = options.camera_tilings[camera or ""] if options.camera_tilings else options.tiling
        height, width = image.shape[:2]
        size = self._model.spec.input_size
        boxes = tiling.boxes(width, height)
        return _Frame(row, [resize_to_input(it.of(image), size) for it in boxes])

    def _score(self, frames: Sequence[_Frame]) -> None:
        answer = self._model.classify(np.stack([tile for frame in frames for tile in frame.tiles]))
        for frame, part in zip(frames, _parts_of(answer, frames), strict=True):
            best = int(part.scores.argmax())
            if not np.isfinite(part.scores).all():
                frame.row["error"] = "the network's score is not a number"
                continue
            known = [each.distance for each in part.novelty if each is not None]
            frame.row["score"] = float(part.scores[best])
            frame.row["novelty"] = max(known, default=None)
            frame.row["kind"] = part.kinds[best] if part.kinds else None


def _parts_of(answer: Classification, frames: Sequence[_Frame]) -> Iterator[Classification]:
    start = 0
    for frame in frames:
        part = slice(start, start + len(frame.tiles))
        yield Classification(
            answer.scores[part], answer.novelty[part], answer.evidence[part], answer.kinds[part]
        )
        start = part.stop


class PackedModelScorer(FrameScorer):
    """A scorer on a machine that has no copy of the model: it gets the bundle as bytes."""

    def __init__(self, location: str, packed: bytes, options: ScoringOptions) -> None:
        super().__init__(location, options.load(unpack_bundle(packed)), options)
