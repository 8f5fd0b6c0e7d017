"""What a check says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Result = Literal["ok", "not ok", "skipped"]
Figure = str | int | float
Figures = Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class Answer:
    """How one thing stands: `what` was found and, where something can be done about it, how to `mend` it.

    `figures` says the same to programs; their names end in the unit (`fsync_ms`, `free_bytes`).
    """

    name: str
    result: Result
    what: str
    mend: str = ""
    figures: Figures = field(default_factory=dict)


def ok(name: str, what: str, figures: Figures | None = None, *, advice: str = "") -> Answer:
    """All is well; `advice` is what could be better."""
    return Answer(name, "ok", what, advice, figures or {})


def not_ok(name: str, what: str, mend: str, figures: Figures | None = None) -> Answer:
    """Something has to be mended."""
    return Answer(name, "not ok", what, mend, figures or {})


def skipped(name: str, why: str, advice: str = "") -> Answer:
    """Not looked at."""
    return Answer(name, "skipped", why, advice)


def megabytes(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
