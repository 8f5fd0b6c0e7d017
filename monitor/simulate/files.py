"""Writing files: the one place where simulation touches the disk, and where its failures become sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.errors import DataError


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn what the system refuses while `target` is written into DataError, the cause kept."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{target} cannot be written: {reason}") from error
