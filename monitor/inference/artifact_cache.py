"""What was made of a bundle for this machine, kept so that the next start need not make it again.

An entry is a folder named by a hash of all that it depends on. It is written under another name and renamed
when whole; each of its files is hashed, so that a damaged entry is noticed and made anew.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


_MANIFEST = "entry.json"


_MAX_ENTRIES = 8
"""Entries kept beside each other; the ones longest unused go first."""


Builder = Callable[[Path], Mapping[str, Any]]
"""Fills a folder, and returns what is to be remembered of it."""


def find_cache_dir(bundle: Path, environment: Mapping[str, str]) -> Path | None:
    """Where to keep what is made of the bundle at `bundle`; None where nothing can be written.

    systemd's `$CACHE_DIRECTORY` if set, else beside the bundle, else `$XDG_CACHE_HOME` or `~/.cache`.
    """
    home = environment.get("XDG_CACHE_HOME") or (
        f"{environment['HOME']}/.cache" if "HOME" in environment else ""
    )
    wanted = [
        Path(environment["CACHE_DIRECTORY"].split(":")[0]) if environment.get("CACHE_DIRECTORY") else None,
        bundle / ".ready",
        Path(home) / "defect-monitor" if home else None,
    ]
    for folder in wanted:
        if folder is None:
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


@contextlib.contextmanager
def cached_artifact(
    folder: Path | None, key: Mapping[str, Any], make: Builder
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The folder of what depends on `parts`, and what is remembered of it; made by `make` if need be.

    Without a `folder`, or with a full disk, it lasts as long as the context.
    """
    if folder is not None:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        record = _read_valid(folder / name)
        if record is None:
            record = _build(folder, name, make)
        if record is not None:
            yield folder / name, record
            return
    with tempfile.TemporaryDirectory(prefix="defect-monitor-") as scratch:
        yield Path(scratch), make(Path(scratch))


def _read_valid(path: Path) -> Mapping[str, Any] | None:
    """What is remembered of the entry, if every file is as it was written."""
    try:
        record = json.loads((path / _MANIFEST).read_bytes())
        if all(_digest(path / file) == digest for file, digest in record["files"].items()):
            with contextlib.suppress(OSError):
                os.utime(path)  # used now
            return dict(record["remembered"])
        log.warning("the files in %s are damaged and are made again", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("what is kept in %s cannot be read and is made again: %s", path, error)
    return None


def _build(folder: Path, name: str, make: Builder) -> Mapping[str, Any] | None:
    """Make the entry; None where the disk refuses to keep it."""
    try:
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))
    except OSError as error:
        log.warning("nothing can be kept in %s: %s", folder, error.strerror)
        return None
    try:
        remembered = make(scratch)
        files = {path.name: _digest(path) for path in scratch.iterdir()}
        (scratch / _MANIFEST).write_text(json.dumps({"files": files, "remembered": dict(remembered)}))
        scratch.chmod(0o755)
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        scratch.rename(folder / name)
    except OSError as error:
        if (record := _read_valid(folder / name)) is not None:  # another process was quicker
            return record
        log.warning("nothing can be kept in %s: %s", folder, error.strerror)
        return None
    else:
        _remove_old(folder)
        return remembered
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_old(folder: Path) -> None:
    entries = [path.parent for path in folder.glob(f"*/{_MANIFEST}") if not path.parent.name.startswith(".")]
    for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[_MAX_ENTRIES:]:
        shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
