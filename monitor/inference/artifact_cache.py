"""Files built from a bundle for this machine, cached so that the next start need not build them again.

An entry is a folder named by a hash of all that it depends on. It is written under another name and renamed
when complete; each of its files is hashed, so that a damaged entry is found and built again.
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

logger = logging.getLogger(__name__)


_MANIFEST = "entry.json"


_MAX_ENTRIES = 8
"""Entries in one cache; the least recently used are removed first."""


Builder = Callable[[Path], Mapping[str, Any]]
"""Fills a folder, and returns metadata, which JSON can hold."""


def find_cache_dir(bundle: Path, environment: Mapping[str, str]) -> Path | None:
    """Find the folder for what is built from the bundle at `bundle`; None where nothing can be written.

    That is systemd's `$CACHE_DIRECTORY` if set, else beside the bundle, else `$XDG_CACHE_HOME` or `~/.cache`.
    """
    home = environment.get("XDG_CACHE_HOME") or (
        f"{environment['HOME']}/.cache" if "HOME" in environment else ""
    )
    candidates = [
        Path(environment["CACHE_DIRECTORY"].split(":")[0]) if environment.get("CACHE_DIRECTORY") else None,
        bundle / ".ready",
        Path(home) / "defect-monitor" if home else None,
    ]
    for folder in candidates:
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
    """Yield the folder of the entry for `key`, and its metadata; `make` builds it if it is not in `folder`.

    Without a `folder`, or with a full disk, the entry lasts as long as the context.
    """
    if folder is not None:
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]
        metadata = _read_valid(folder / name)
        if metadata is None:
            metadata = _build(folder, name, make)
        if metadata is not None:
            yield folder / name, metadata
            return
    with tempfile.TemporaryDirectory(prefix="defect-monitor-") as scratch:
        yield Path(scratch), make(Path(scratch))


def _read_valid(path: Path) -> Mapping[str, Any] | None:
    """Return the metadata of the entry, if every file is as it was written."""
    try:
        record = json.loads((path / _MANIFEST).read_bytes())
        if all(_digest(path / file) == digest for file, digest in record["files"].items()):
            with contextlib.suppress(OSError):
                os.utime(path)  # used now
            return dict(record["remembered"])
        logger.warning("the files in %s are damaged and are built again", path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("the cache entry %s cannot be read and is built again: %s", path, error)
    return None


def _build(folder: Path, name: str, make: Builder) -> Mapping[str, Any] | None:
    """Build the entry; None where it cannot be written."""
    try:
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".making-"))
    except OSError as error:
        logger.warning("the cache %s cannot be written: %s", folder, error.strerror)
        return None
    try:
        metadata = make(scratch)
        files = {
            str(path.relative_to(scratch)): _digest(path) for path in scratch.rglob("*") if path.is_file()
        }
        (scratch / _MANIFEST).write_text(json.dumps({"files": files, "remembered": dict(metadata)}))
        scratch.chmod(0o755)
        if (folder / name).exists():
            shutil.rmtree(folder / name)
        scratch.rename(folder / name)
    except OSError as error:
        if (written := _read_valid(folder / name)) is not None:  # another process was quicker
            return written
        logger.warning("the cache %s cannot be written: %s", folder, error.strerror)
        return None
    else:
        _remove_old(folder)
        return metadata
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _remove_old(folder: Path) -> None:
    entries = [path.parent for path in folder.glob(f"*/{_MANIFEST}") if not path.parent.name.startswith(".")]
    for path in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True)[_MAX_ENTRIES:]:
        shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
