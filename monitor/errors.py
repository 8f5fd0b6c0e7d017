"""Define every error that this package raises on purpose. Only the command line catches them.

Each message states in one sentence what is wrong and, where possible, how to fix it.
"""

from typing import Literal


def printable(text: object) -> str:
    """Return `text` as valid Unicode without control characters, for everything that leaves the process.

    A file name that is not UTF-8 holds lone surrogates in Python, which Redis, JSON readers and most
    terminals refuse. Each undecodable byte becomes an escape such as `\\xfc`, each control character an
    escape such as `\\n`.
    """
    shown = str(text)
    try:
        shown = shown.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that encodes no byte
        shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in shown
    )


def first_line(error: Exception, limit: int | None = None) -> str:
    """Return the first line of an error's text, cut to `limit` characters; its type's name if it has none."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if limit is None or len(line) <= limit else f"{line[:limit]}…"


class MonitorError(Exception):
    """The base class: a failure that is reported in one line, exit code 1. Its text is valid Unicode."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class SettingsError(MonitorError):
    """The settings or the command's arguments are wrong: exit code 2.

    `mistakes` holds one sentence per mistake, with its location (`file:line: key: mistake`), in file order.
    """

    exit_code = 2

    def __init__(self, *mistakes: str) -> None:
        super().__init__(*mistakes)
        self.mistakes = tuple(printable(mistake) for mistake in mistakes)

    def __str__(self) -> str:
        return "\n".join(self.mistakes)


class UsageError(MonitorError):
    """An argument is invalid, such as a layer that the model lacks: exit code 2."""

    exit_code = 2


class ModelError(MonitorError):
    """A model bundle is missing, damaged, altered, or of an unknown version."""


class DeviceError(MonitorError):
    """The requested device does not exist."""


class InferenceError(MonitorError):
    """A remote model cannot be reached. `cause` is the cause of the gap that reports its frames."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class DataError(MonitorError):
    """Training or evaluation data cannot be used."""


class ClusterError(MonitorError):
    """Ray is not installed, cannot be reached, or failed."""


class ImageError(MonitorError):
    """A frame or an image file cannot be inspected. `cause` is the cause of the gap that reports it."""

    cause: Literal["unreadable", "damaged", "unusable"] = "unreadable"


class DamagedError(ImageError):
    """A frame was decoded from incomplete data, or refers to such a frame."""

    cause = "damaged"


class UnusableError(ImageError):
    """A frame can be read, but not classified until a setting is corrected."""

    cause = "unusable"


class SourceError(MonitorError):
    """A camera cannot be opened or read. `cause` is one of `capture.sources.base.FAILURE_CAUSES`."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class DeliveryError(MonitorError):
    """Redis cannot be reached, refuses access, or answered with an error.

    `permanent`: retrying does not help, such as with a wrong password, a missing permission or a key of the
    wrong type.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class PortError(MonitorError):
    """The port for metrics and health cannot be opened."""
