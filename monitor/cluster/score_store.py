"""Scores of one model on disk: parts that a kill does not damage, and the table made of them at the end.

OUT/<first 12 digits of the model's SHA-256>/
  run.json         what the scores depend on
  parts/           scores as they came, in files that are whole or absent
  scores.parquet   one row a frame, ordered by path
  report.json
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from monitor.cluster.archive_frames import ArchivedFrame
from monitor.cluster.frame_scorer import SCORES
from monitor.errors import DataError, MonitorError

RESULT = "scores.parquet"


REPORT = "report.json"

_RESULT_SCHEMA = pa.schema(
    [
        *(column for column in SCORES if column.name not in ("size", "modified")),
        ("model", pa.string()),
        ("defective", pa.bool_()),  # verdict of the model
        ("label", pa.bool_()),  # True: a defect, by the folder or table of the archive
        ("camera", pa.string()),
        ("event", pa.string()),
        ("recorded_score", pa.float64()),
        ("recorded_threshold", pa.float64()),
        ("recorded_model", pa.string()),
    ]
)


class ScoreStore:
    """The folder of one model in `out`; one process at a time writes to it.

    `run` names what else the scores depend on: a folder that was written with other values is refused.
    Raises DataError.
    """

    def __init__(self, out: Path, model: str, run: Mapping[str, Any]) -> None:
        self.folder = out / model[:12]
        self._model = model
        self._parts = self.folder / "parts"
        with ExitStack() as stack:
            try:
                self._parts.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context((self.folder / ".lock").open("w"))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._check_run(json.loads(json.dumps({"model": model, **run})))
            except BlockingIOError:
                raise DataError(f"another rescore writes to {self.folder}: wait for it") from None
            except OSError as error:
                raise _describe(error, self.folder) from error
            self._unlock = stack.pop_all()

    def close(self) -> None:
        """Let another process write to the folder."""
        self._unlock.close()

    def _check_run(self, run: Mapping[str, Any]) -> None:
        path = self.folder / "run.json"
        try:
            before = json.loads(path.read_bytes())
        except FileNotFoundError:
            _write_whole(path, json.dumps(run, indent=2).encode() + b"\n")
            return
        except ValueError as error:
            raise DataError(f"{path} is damaged: give another folder with --out") from error
        differing = [name for name in run if before.get(name) != run[name]]
        if differing:
            raise DataError(
                f"{self.folder} holds scores with another {' and '.join(differing)}: give another --out"
            )

    def unscored(self, frames: Iterable[ArchivedFrame]) -> list[ArchivedFrame]:
        """Return the frames that have no score yet, or whose file has changed since."""
        columns = [self._read_parts(["path", "size", "modified"]).column(name) for name in range(3)]
        done = set(zip(*(column.to_pylist() for column in columns), strict=True))
        return [frame for frame in frames if (frame.path, frame.size, frame.modified) not in done]

    def append(self, scores: pa.Table) -> None:
        """Store `scores` (`SCORES`), whole or not at all."""
        self._write(self._parts / f"{uuid.uuid4().hex}.parquet", _as_parquet(scores))

    def finish(self, frames: Iterable[ArchivedFrame], threshold: float) -> tuple[pa.Table, int]:
        """Write and return the table of `frames`, and the number of those that repeat another's pixels.

        It depends on the files of the archive alone: not on the order in which they were scored, nor on how
        often that was interrupted. Of frames with the same pixels the first path has the row.
        """
        rows = {
            (row["path"], row["size"], row["modified"]): row for row in self._read_parts(None).to_pylist()
        }
        seen: set[str] = set()
        result: list[dict[str, Any]] = []
        repeated = 0
        for frame in frames:
            row = rows[frame.path, frame.size, frame.modified]
            if row["frame"] in seen:
                repeated += 1
                continue
            if row["frame"] is not None:
                seen.add(row["frame"])
            result.append(self._joined(row, frame, threshold))
        table = pa.Table.from_pylist(result, schema=_RESULT_SCHEMA)
        self._write(self.folder / RESULT, _as_parquet(table))
        return table, repeated

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write the report as JSON."""
        self._write(self.folder / REPORT, json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")

    def _write(self, path: Path, content: bytes) -> None:
        try:
            _write_whole(path, content)
        except OSError as error:
            raise _describe(error, self.folder) from error

    def _joined(self, row: Mapping[str, Any], frame: ArchivedFrame, threshold: float) -> dict[str, Any]:
        score, recorded = row["score"], frame.recorded
        return {
            **row,
            "model": self._model,
            "defective": None if score is None else score >= threshold,
            "label": frame.defective,
            "camera": frame.camera,
            "event": recorded and recorded.event,
            "recorded_score": recorded and recorded.score,
            "recorded_threshold": recorded and recorded.threshold,
            "recorded_model": recorded and recorded.model,
        }

    def _read_parts(self, columns: list[str] | None) -> pa.Table:
        parts = sorted(self._parts.glob("*.parquet"))
        try:
            tables = [pq.read_table(part, columns=columns) for part in parts]
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{self._parts} cannot be read: {error}") from error
        empty = SCORES.empty_table()
        return pa.concat_tables([empty if columns is None else empty.select(columns), *tables])


def _as_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and have it on disk."""
    scratch = path.with_name(f"{path.name}.part")  # no name that a reader of parts would find
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(error: OSError, folder: Path) -> MonitorError:
    return DataError(f"cannot write to {folder}: {error.strerror or error}")
