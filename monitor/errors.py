"""Every failure this package raises on purpose. The command line alone catches them.

Each states in one sentence what is wrong and, where it can, how to fix it.
"""

from typing import Literal


def printable(text: object) -> str:
    """Return `text` as valid Unicode without control characters, for everything that leaves the process.

    A file name that is not UTF-8 holds lone surrogates in Python, which Redis, JSON readers and most
    terminals refuse. Each undecodable byte becomes an escape such as `\\xfc`, each control character one such
    as `\\n`.
    """
    shown = str(text)
    try:
        shown = shown.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        shown = shown.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in shown
    )


class MonitorError(Exception):
    """The root: a failure that is reported in one line, exit code 1. Its text is valid Unicode."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class SettingsError(MonitorError):
    """The settings or the command's arguments are wrong: exit code 2.

    `mistakes` holds one sentence each, with the place (`file:line: key: what`), in file order.
    """

    exit_code = 2

    def __init__(self, *mistakes: str) -> None:
        super().__init__(*mistakes)
        self.mistakes = tuple(printable(mistake) for mistake in mistakes)

    def __str__(self) -> str:
        return "\n".join(self.mistakes)


class UsageError(MonitorError):
    """An argument cannot be served as asked, such as a layer that the model lacks: exit code 2."""

    exit_code = 2


class ModelError(MonitorError):
    """A model bundle is missing, damaged, altered, or of a version that this program does not know."""


class DeviceError(MonitorError):
    """The requested device does not exist."""


class InferenceError(MonitorError):
    """A model that runs elsewhere is out of reach. `cause` is that of the gap that reports its frames."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class DataError(MonitorError):
    """Training or evaluation data cannot be used as they are."""


class ImageError(MonitorError):
    """A frame or an image file cannot be inspected. `cause` is that of the gap that reports it."""

    cause: Literal["unreadable", "damaged", "unusable"] = "unreadable"


class DamagedError(ImageError):
    """A frame was decoded from incomplete data, or refers to one that was."""

    cause = "damaged"


class UnusableError(ImageError):
    """A frame can be read, but not be classified until a setting is right."""

    cause = "unusable"


class SourceError(MonitorError):
    """A camera cannot be opened or read. `cause` is one of `capture.sources.base.FAILURE_CAUSES`."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class DeliveryError(MonitorError):
    """Redis cannot be reached, refuses access, or answered with an error.

    `permanent`: only a person can fix it, such as a wrong password, a missing right, a key of another type.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class PortError(MonitorError):
    """The port for metrics and health cannot be opened."""
