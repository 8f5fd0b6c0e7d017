"""A folder of model bundles by hash, one of which is in use, and the history of which one was.

`<store>/<version>/` is a bundle; its version is the SHA-256 of its card, which holds the hash of each of its
files. `<store>/current` is a symbolic link to the version in use, replaced by one rename: a reader sees the
old version or the new one. Settings name `<store>/current` as the model's path.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from monitor.errors import ModelError
from monitor.models.bundle import ModelBundle, load_bundle, sync_path
from monitor.models.card import CARD_NAME, BundleFile, ModelCard, read_card

CURRENT = "current"
"""Name of the link to the version in use."""


HISTORY = "history.jsonl"


_SCRATCH = ".writing-"


Check = Callable[[ModelBundle], None]
"""Raises ModelError or DeviceError unless the bundle answers its reference images as its card says."""


class HistoryEntry(BaseModel):
    """A version that was added, promoted or rolled back to; `replaced` was in use until then."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    action: Literal["add", "promote", "rollback"]
    version: str
    replaced: str | None = None


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A bundle of the store. `card` is None where it cannot be read; `used_since` is None if not in use."""

    version: str
    card: ModelCard | None
    added_at: datetime | None
    used_since: datetime | None
    is_current: bool


class ModelStore:
    """The store in folder `root`. Every method raises ModelError where the folder cannot be used."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, source: Path) -> str:
        """Copy the bundle in folder `source`, whose hashes are checked; return its version."""
        with self._changing(create=True), tempfile.TemporaryDirectory(dir=self.root, prefix=_SCRATCH) as new:
            card = load_bundle(source).card
            parts = (*dict(card).values(), *card.references)
            names = {CARD_NAME} | {part.file for part in parts if isinstance(part, BundleFile)}
            copy = Path(new) / "bundle"
            copy.mkdir()
            for name in names:
                shutil.copyfile(source / name, copy / name)
                sync_path(copy / name)
            load_bundle(copy)
            version = _version_of(copy)
            if not (self.root / version).exists():
                sync_path(copy)
                self._record(HistoryEntry(at=datetime.now(UTC), action="add", version=version))
                copy.rename(self.root / version)
                sync_path(self.root)
        return version

    def find(self, version: str) -> str:
        """Return the one version that begins with `version`, or whose network's hash does.

        `current` is the one in use. Raises ModelError if there is none, or more than one.
        """
        if version == CURRENT:
            if (current := self.current()) is None:
                raise ModelError(f"no model of {self.root} is in use: promote one")
            return current
        found = [
            model.version
            for model in self.versions()
            if model.version.startswith(version)
            or (model.card is not None and model.card.model.sha256.startswith(version))
        ]
        if len(found) != 1:
            number = "no model" if not found else f"{len(found)} models"
            raise ModelError(f"{number} of {self.root} can be meant by '{version}': see `models list`")
        return found[0]

    def promote(self, version: str, check: Check) -> None:
        """Use `version` from now on, if its files are intact and it passes `check`; else change nothing."""
        with self._changing():
            self._use(version, "promote", check)

    def rollback(self, check: Check) -> str:
        """Use the version before the present one again; return it. A second one goes one further back."""
        with self._changing():
            used = self._used()
            if len(used) < 2:
                raise ModelError(f"{self.root} has no model before the present one")
            self._use(used[-2], "rollback", check)
            return used[-2]

    def verify(self, version: str, check: Check) -> None:
        """Raise ModelError unless the files of `version` are intact and it passes `check`."""
        folder = self.root / version
        bundle = load_bundle(folder)
        if _version_of(folder) != version:
            raise ModelError(f"{folder / CARD_NAME} was altered: its hash is not the name of its folder")
        check(bundle)

    def current(self) -> str | None:
        """Return the version in use; None where none is yet."""
        try:
            return (self.root / CURRENT).readlink().name
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ModelError(f"{self.root / CURRENT} is not a link to a model: {error.strerror}") from error

    def versions(self) -> Sequence[StoredModel]:
        """Return every version, the one added last first."""
        try:
            folders = [path for path in self.root.iterdir() if len(path.name) == 64]
        except OSError as error:
            raise ModelError(f"the model store {self.root} cannot be read: {error.strerror}") from error
        current, history = self.current(), self.history()
        added = {entry.version: entry.at for entry in reversed(history) if entry.action == "add"}
        used = {entry.version: entry.at for entry in history if entry.action != "add"}
        models = []
        for path in folders:
            card = None
            with contextlib.suppress(ModelError):
                card = read_card(path)
            since = used.get(path.name) if path.name == current else None
            models.append(StoredModel(path.name, card, added.get(path.name), since, path.name == current))
        earliest = datetime.min.replace(tzinfo=UTC)
        return sorted(models, key=lambda model: model.added_at or earliest, reverse=True)

    def history(self) -> Sequence[HistoryEntry]:
        """Return what happened, oldest first; a line that a crash cut short is left out."""
        try:
            lines = (self.root / HISTORY).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{self.root / HISTORY} cannot be read: {error}") from error
        entries = []
        for line in lines:
            with contextlib.suppress(ValidationError):
                entries.append(HistoryEntry.model_validate_json(line))
        return entries

    def _used(self) -> list[str]:
        """Return the versions that rollbacks go back through; the last one is in use.

        The history is written before the link is replaced. An entry without its effect, after a crash, is
        recognised by the next one: what that replaced is another version.
        """
        changes = [entry for entry in self.history() if entry.action != "add"]
        replaced_next = [*(entry.replaced for entry in changes[1:]), self.current()]
        used: list[str] = []
        for entry, replaced in zip(changes, replaced_next, strict=True):
            if entry.version != replaced:
                continue
            if entry.action == "promote":
                used.append(entry.version)
            while entry.version in used and used[-1] != entry.version:
                used.pop()
        return used

    def _use(self, version: str, action: Literal["promote", "rollback"], check: Check) -> None:
        self.verify(version, check)
        current = self.current()
        if version == current:
            return
        self._record(HistoryEntry(at=datetime.now(UTC), action=action, version=version, replaced=current))
        replace_link(self.root / CURRENT, version)

    def _record(self, entry: HistoryEntry) -> None:
        path = self.root / HISTORY
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # of an append that a crash cut short
                    file.write(b"\n")
            file.write(entry.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def _changing(self, *, create: bool = False) -> Iterator[None]:
        """Let one process at a time change the store."""
        try:
            if create:
                self.root.mkdir(parents=True, exist_ok=True)
            folder = os.open(self.root, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                for leftover in self.root.glob(f"{_SCRATCH}*"):  # of a process that was killed
                    shutil.rmtree(leftover)
                yield
            finally:
                os.close(folder)
        except OSError as error:
            raise ModelError(
                f"the model store {self.root} cannot be changed: {error.strerror or error}"
            ) from error


def replace_link(link: Path, target: str) -> None:
    """Let `link` lead to `target`, a name beside it, by one rename. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=link.parent, prefix=_SCRATCH) as scratch:
        new = Path(scratch) / link.name
        new.symlink_to(target)
        new.replace(link)
    sync_path(link.parent)


def _version_of(folder: Path) -> str:
    return hashlib.sha256((folder / CARD_NAME).read_bytes()).hexdigest()
