"""The state from which an interrupted training continues, written after every epoch."""

import io
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from monitor.errors import ModelError, UsageError

STATE_FOLDER = "training"


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """The result of one epoch; losses 0 or more, `auc` of the validation frames 0..1."""

    loss: float
    validation_loss: float
    auc: float


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The `history` of past epochs and the `arrays` of the learner after them.

    `fingerprint` is of the data and settings; a run can only continue with the same.
    """

    fingerprint: str
    history: tuple[EpochMetrics, ...]
    arrays: dict[str, NDArray[np.generic]]

    @property
    def best_epoch(self) -> int:
        """Return the epoch of lowest validation loss, from 1; the first of several."""
        return best_epoch(self.history)


def best_epoch(history: tuple[EpochMetrics, ...]) -> int:
    """Return the epoch of lowest validation loss in `history`, counted from 1; the first of several."""
    return 1 + min(range(len(history)), key=lambda index: history[index].validation_loss)


def save_checkpoint(out: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint` below `out`, replacing an earlier one in one step; raises `ModelError`."""
    folder = out / STATE_FOLDER
    buffer = io.BytesIO()
    about = {
        "fingerprint": checkpoint.fingerprint,
        "history": [asdict(epoch) for epoch in checkpoint.history],
    }
    np.savez(buffer, about=np.array(json.dumps(about)), **checkpoint.arrays)  # type: ignore[arg-type]  # keys are numbers
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / ".state.npz"
        with draft.open("wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / "state.npz")
    except OSError as error:
        raise ModelError(
            f"the state of the training cannot be written to {folder}: {error.strerror or error}"
        ) from error


def load_checkpoint(out: Path, fingerprint: str) -> Checkpoint:
    """Read the state below `out`; raises `UsageError` if it is missing or of other data or settings."""
    path = out / STATE_FOLDER / "state.npz"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        about = json.loads(str(arrays.pop("about")))
        history = tuple(EpochMetrics(**epoch) for epoch in about["history"])
    except FileNotFoundError as error:
        raise UsageError(f"there is no interrupted training in {out} to resume") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise ModelError(f"the state of the training {path} cannot be read: {error}") from error
    if about["fingerprint"] != fingerprint:
        raise UsageError(
            f"the training in {out} started with other data or settings: repeat its command with --resume"
        )
    return Checkpoint(fingerprint, history, arrays)


def remove_checkpoint(out: Path) -> None:
    """Delete the state below `out`, if any."""
    folder = out / STATE_FOLDER
    for name in (".state.npz", "state.npz"):
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir():
        folder.rmdir()
