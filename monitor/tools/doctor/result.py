"""The result of a check."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CheckStatus = Literal["ok", "not ok", "skipped"]


Figure = str | int | float


Measurements = Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: a `message` and, where something can be done, a `remedy`.

    `figures` are the same for programs; their names end in the unit (`fsync_ms`, `free_bytes`).
    """

    name: str
    result: CheckStatus
    message: str
    remedy: str = ""
    figures: Measurements = field(default_factory=dict)


def ok(name: str, message: str, figures: Measurements | None = None, *, advice: str = "") -> CheckResult:
    """Return a passed check; `advice` is what could be better."""
    return CheckResult(name, "ok", message, advice, figures or {})


def failed(name: str, message: str, remedy: str, figures: Measurements | None = None) -> CheckResult:
    """Return a failed check."""
    return CheckResult(name, "not ok", message, remedy, figures or {})


def skipped(name: str, reason: str, advice: str = "") -> CheckResult:
    """Return a check that could not be made."""
    return CheckResult(name, "skipped", reason, advice)


def format_bytes(size: float) -> str:
    """Format a number of bytes for people."""
    return f"{size / 1e6:,.0f} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
