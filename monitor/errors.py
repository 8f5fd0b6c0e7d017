"""Every failure this package raises on purpose. The command line alone catches them.

Each says in one sentence what is wrong and, where it can, what mends it.
"""

from typing import Literal


class MonitorError(Exception):
    """The root: a failure that is said in one line, exit code 1."""

    exit_code = 1


class SettingsError(MonitorError):
    """The settings or the command's arguments are wrong: exit code 2.

    `mistakes` holds one sentence each, with the place (`file:line: key: what`), in file order.
    """

    exit_code = 2

    def __init__(self, *mistakes: str) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class UsageError(MonitorError):
    """An argument cannot be served as asked, such as a layer that the model lacks: exit code 2."""

    exit_code = 2


class ModelError(MonitorError):
    """A model bundle is missing, broken, altered, or of a version this program does not know."""


class DeviceError(MonitorError):
    """The device asked for is not there."""


class DataError(MonitorError):
    """Training or evaluation data cannot be used as they are."""


class ImageError(MonitorError):
    """A frame or an image file cannot be read, or cannot be used.

    `cause` is `unreadable`, or `unusable` for one that can be read but not be classified.
    """

    def __init__(self, message: str, cause: Literal["unreadable", "unusable"] = "unreadable") -> None:
        super().__init__(message)
        self.cause = cause


class SourceError(MonitorError):
    """A camera cannot be opened or read. `cause` is a word of `monitor.capture.source.CAUSES`."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class DeliveryError(MonitorError):
    """Redis is out of reach, refuses us, or answered with an error.

    `permanent`: waiting will not mend it, someone has to (a password, a right, a key of another type).
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class PortError(MonitorError):
    """The port for metrics and health cannot be taken."""
