"""Simulated pictures as a data set on disk, in the layout of the DAGM 2007 competition."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.simulate.files import writing
from monitor.simulate.surface import SurfaceLine


def write_dataset(
    line: SurfaceLine,
    out: Path,
    name: str = "Simulated",
    *,
    train: int,
    test: int,
    replace: bool = False,
    written: Callable[[], None] = lambda: None,
) -> int:
    """Write OUT/NAME/Train and OUT/NAME/Test; return how many pictures are defective.

    Pictures 0 .. train-1 of the line go to Train, the next `test` to Test; a split of none is left out. Files
    count from 0001 in each, as 8-bit grey PNG; Label/NNNN_label.PNG holds the filled ellipse (0/255) of a
    defective one. Label/Labels.txt comes last, so that a folder with it is complete. `replace` deletes an
    OUT/NAME that is there already; nothing else in OUT is touched. `written` is called after each picture.
    Raises UsageError where OUT/NAME holds something and `replace` is false, DataError where the disk refuses.
    """
    if train < 0 or test < 0 or train + test == 0:
        raise UsageError(f"a data set needs pictures, not {train} to train and {test} to test")
    folder = out / name
    with writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            if not replace:
                raise UsageError(f"{folder} exists and is not empty; --force replaces it")
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
            else:
                folder.unlink()
        splits = (("Train", range(train)), ("Test", range(train, train + test)))
        return sum(
            _write_split(line, folder / split, numbers, written) for split, numbers in splits if numbers
        )


def _write_split(line: SurfaceLine, folder: Path, numbers: range, written: Callable[[], None]) -> int:
    labels = folder / "Label"
    labels.mkdir(parents=True, exist_ok=True)
    rows = ["1"]
    defective = 0
    for index, number in enumerate(numbers, start=1):
        stem = f"{index:04d}"
        _write_png(folder / f"{stem}.PNG", line.picture(number)[:, :, 0])
        truth = line.truth(number)
        if truth is None:
            rows.append(f"{stem}\t0\t{stem}.PNG\t0\t0\t")
        else:
            defective += 1
            rows.append(f"{stem}\t1\t{stem}.PNG\t0\t{stem}_label.PNG")
            mask = truth.mask(line.height, line.width).astype(np.uint8) * 255
            _write_png(labels / f"{stem}_label.PNG", mask)
        written()
    (labels / "Labels.txt").write_text("\n".join(rows) + "\n", encoding="ascii")
    return defective


def _write_png(path: Path, grey: NDArray[np.uint8]) -> None:
    # Encoded first: cv2.imwrite would hide why the disk refused.
    _, encoded = cv2.imencode(".png", grey)
    path.write_bytes(encoded.tobytes())
