"""Writes simulated images as a data set in the layout of the DAGM 2007 competition, or as a video."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import DataError, UsageError
from monitor.simulate.surface import SurfaceGenerator


def write_dataset(
    line: SurfaceGenerator,
    out: Path,
    name: str = "Simulated",
    *,
    train: int,
    test: int,
    replace: bool = False,
    on_written: Callable[[], None] = lambda: None,
) -> int:
    """Write OUT/NAME/Train and OUT/NAME/Test; return the number of defective images.

    Images 0 .. train-1 of the line go to Train, the next `test` to Test; an empty split is left out. Files
    count from 0001 in each, as 8-bit grey PNG; Label/NNNN_label.PNG holds the filled ellipse (0/255) of a
    defective one. Label/Labels.txt comes last, so that a folder with it is complete. `replace` deletes an
    existing OUT/NAME; nothing else in OUT is changed. `on_written` is called after each image. Raises
    UsageError where OUT/NAME is not empty and `replace` is false, DataError where the disk fails.
    """
    if train < 0 or test < 0 or train + test == 0:
        raise UsageError(f"a data set needs images, not {train} to train and {test} to test")
    folder = out / name
    with disk_errors(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            if not replace:
                raise UsageError(f"{folder} exists and is not empty; --force replaces it")
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink()
        splits = (("Train", range(train)), ("Test", range(train, train + test)))
        return sum(
            _write_split(line, folder / split, numbers, on_written) for split, numbers in splits if numbers
        )


def _write_split(line: SurfaceGenerator, folder: Path, numbers: range, on_written: Callable[[], None]) -> int:
    labels = folder / "Label"
    labels.mkdir(parents=True, exist_ok=True)
    rows = ["1"]
    defective = 0
    for index, number in enumerate(numbers, start=1):
        stem = f"{index:04d}"
        _write_png(folder / f"{stem}.PNG", line.picture(number)[:, :, 0])
        truth = line.defect_at(number)
        if truth is None:
            rows.append(f"{stem}\t0\t{stem}.PNG\t0\t0\t")
        else:
            defective += 1
            rows.append(f"{stem}\t1\t{stem}.PNG\t0\t{stem}_label.PNG")
            mask = truth.mask(line.height, line.width).astype(np.uint8) * 255
            _write_png(labels / f"{stem}_label.PNG", mask)
        on_written()
    (labels / "Labels.txt").write_text("\n".join(rows) + "\n", encoding="ascii")
    return defective


def _write_png(path: Path, grey: NDArray[np.uint8]) -> None:
    # Encoded first: cv2.imwrite would hide the reason of a disk error.
    _, encoded = cv2.imencode(".png", grey)
    path.write_bytes(encoded.tobytes())


QUALITY: Mapping[str, str] = {"crf": "18", "preset": "veryfast"}
"""Higher than usual: coarser coding smooths good texture until it looks like a defect."""


def write_video(
    line: SurfaceGenerator,
    out: Path,
    fps: float,
    frames: int,
    *,
    replace: bool = False,
    options: Mapping[str, str] = QUALITY,
    on_written: Callable[[], None] = lambda: None,
) -> int:
    """Write images 0 .. frames-1 as H.264 to `out`, an MP4 file; return the number of defective ones.

    Beside it a file of the same name, ending in .jsonl, gets one JSON object per frame: `frame` (from 0),
    `ellipse` (the fields of Ellipse; null for a good one) and `box` ([x, y, width, height], or null).
    Both appear only when complete. `options` are x264's. `on_written` is called after each frame.
    Raises UsageError for an odd width or height, which H.264 (yuv420p) cannot hold, for a rate or a length
    out of range, and where a file exists and `replace` is false; DataError where the disk fails.
    """
    if line.width % 2 or line.height % 2:
        raise UsageError(f"a video needs an even width and height, not {line.width}x{line.height}")
    if not 0.1 <= fps <= 1000:
        raise UsageError(f"a video has a rate of 0.1 to 1000 frames per second, not {fps:g}")
    if frames < 1:
        raise UsageError(f"a video needs at least one frame, not {frames}")
    truths = out.with_suffix(".jsonl")
    for path in (out, truths):
        if path.is_dir() or (path.exists() and not replace):
            raise UsageError(
                f"{path} exists" + ("; --force replaces it" if path.is_file() else " and is a folder")
            )
    unfinished = out.with_name(out.name + ".part")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            _encode(line, unfinished, fps, frames, options=options, on_written=on_written)
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    rows = [_truth_row(line, number) for number in range(frames)]
    with disk_errors(truths):
        truths.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
    return sum(row["ellipse"] is not None for row in rows)


def _encode(
    line: SurfaceGenerator,
    path: Path,
    fps: float,
    frames: int,
    *,
    options: Mapping[str, str],
    on_written: Callable[[], None],
) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = line.width, line.height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(line.picture(number), format="bgr24")
            container.mux(stream.encode(frame))
            on_written()
        container.mux(stream.encode())


def _truth_row(line: SurfaceGenerator, number: int) -> dict[str, object]:
    truth = line.defect_at(number)
    if truth is None:
        return {"frame": number, "ellipse": None, "box": None}
    box = truth.box(line.width, line.height)
    return {"frame": number, "ellipse": asdict(truth), "box": [box.left, box.top, box.width, box.height]}


@contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn an OSError while `target` is written into a DataError with its cause."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{target} cannot be written: {reason}") from error
