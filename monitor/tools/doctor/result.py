"""What a check says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CheckStatus = Literal["ok", "not ok", "skipped"]


Figure = str | int | float


Measurements = Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How one thing stands: `what` was found and, where something can be done about it, how to `mend` it.

    `figures` says the same to programs; their names end in the unit (`fsync_ms`, `free_bytes`).
    """

    name: str
    result: CheckStatus
    message: str
    remedy: str = ""
    figures: Measurements = field(default_factory=dict)


def ok(name: str, what: str, figures: Measurements | None = None, *, advice: str = "") -> CheckResult:
    """All is well; `advice` is what could be better."""
    return CheckResult(name, "ok", what, advice, figures or {})


def failed(name: str, what: str, mend: str, figures: Measurements | None = None) -> CheckResult:
    """Something has to be mended."""
    return CheckResult(name, "not ok", what, mend, figures or {})


def skipped(name: str, why: str, advice: str = "") -> CheckResult:
    """Not looked at."""
    return CheckResult(name, "skipped", why, advice)


def format_bytes(size: float) -> str:
    """Bytes for people."""
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
