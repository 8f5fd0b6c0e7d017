"""What a new model changes on an archive: against the line, against labels, against other models."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.cluster.score_store import RESULT
from monitor.learning.evaluate.metrics import area_under_roc
from monitor.models.card import ModelCard

_LISTED = 20
"""Changed frames that the report names; the table of scores has all of them."""


def build_report(scores: pa.Table, card: ModelCard, folder: Path) -> dict[str, Any]:
    """Compare `scores`, the table of the model of `card` in `folder`, with all that is known of its frames.

    A part is None where the archive lacks what it compares with. All values are those of JSON.
    """
    scored = scores.filter(pc.is_valid(scores["score"]))
    trained = frozenset(card.training.trained) | frozenset(card.training.validated)
    return {
        "model": {"name": card.name, "sha256": card.model.sha256, "threshold": card.threshold},
        "frames": len(scores),
        "unreadable": len(scores) - len(scored),
        "defective": _count(scored["defective"]),
        "used_in_training": sum(frame in trained for frame in scored["frame"].to_pylist()),
        "line": _against_line(scored),
        "labels": _against_labels(scored),
        "models": [
            _against_model(scored, path)
            for path in sorted(folder.parent.glob(f"*/{RESULT}"))
            if path.parent != folder
        ],
    }


def _against_line(scored: pa.Table) -> dict[str, Any] | None:
    """Compare with the verdicts in the archiver's events, all of which were flagged."""
    known = scored.filter(pc.is_valid(scored["event"]))
    if not len(known):
        return None
    score, before = (_values(known[name]) for name in ("score", "recorded_score"))
    defective = known["defective"].to_numpy(zero_copy_only=False).astype(bool)
    cleared = np.flatnonzero(~defective)
    most = cleared[np.argsort(-(before - score)[cleared], kind="stable")][:_LISTED]
    return {
        "events": len(known),
        "models": dict(Counter(known["recorded_model"].to_pylist())),
        "still_flagged": int(defective.sum()),
        "now_clean": int((~defective).sum()),
        "mean_difference": float(np.abs(score - before).mean()),
        "largest_difference": float(np.abs(score - before).max()),
        "examples": [
            {"path": known["path"][int(it)].as_py(), "before": float(before[it]), "score": float(score[it])}
            for it in most
        ],
    }


def _against_labels(scored: pa.Table) -> dict[str, Any] | None:
    known = scored.filter(pc.is_valid(scored["label"]))
    if not len(known):
        return None
    label, defective = (
        known[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("label", "defective")
    )
    auc = area_under_roc(_values(known["score"]), label)
    wrong = [known["path"][int(it)].as_py() for it in np.flatnonzero(label != defective)[:_LISTED]]
    return {
        "good": int((~label).sum()),
        "defects": int(label.sum()),
        "misses": int((label & ~defective).sum()),
        "false_alarms": int((~label & defective).sum()),
        "auc": None if np.isnan(auc) else auc,
        "examples": wrong,
    }


def _against_model(scored: pa.Table, other: Path) -> Mapping[str, Any]:
    """Compare with the scores of another model in the same folder, frame by frame."""
    table = pq.read_table(other, columns=["frame", "model", "defective"])
    theirs = dict(zip(table["frame"].to_pylist(), table["defective"].to_pylist(), strict=True))
    ours = dict(zip(scored["frame"].to_pylist(), scored["defective"].to_pylist(), strict=True))
    pairs = Counter(
        (verdict, theirs[frame]) for frame, verdict in ours.items() if theirs.get(frame) is not None
    )
    return {
        "model": table["model"][0].as_py() if len(table) else other.parent.name,
        "frames": pairs.total(),
        "both_flag": pairs[True, True],
        "only_this": pairs[True, False],
        "only_other": pairs[False, True],
        "none_flags": pairs[False, False],
    }


def _values(column: pa.ChunkedArray) -> Any:
    return column.to_numpy().astype(np.float64)


def _count(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)
