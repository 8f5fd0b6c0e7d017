"""A model bundle as bytes, for machines that do not share a disk."""

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from monitor.errors import ModelError
from monitor.models.bundle import ModelBundle, load_bundle
from monitor.models.card import CARD_NAME, BundleFile, ModelCard


def pack_bundle(bundle: ModelBundle) -> bytes:
    """Return the card of `bundle` and the files that it names, as a tar archive; equal for equal bundles."""
    card = bundle.card
    parts = [*(getattr(card, name) for name in ModelCard.model_fields), *card.references]
    names = dict.fromkeys((CARD_NAME, *(part.file for part in parts if isinstance(part, BundleFile))))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            data = (bundle.path / name).read_bytes()
            entry = tarfile.TarInfo(name)  # without times and owners
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def unpack_bundle(content: bytes, folder: Path | None = None) -> ModelBundle:
    """Unpack a bundle into a folder of its own in `folder`, once, and load it; hashes are checked.

    `folder` is by default in the user's cache. Several processes may do so at the same time.
    Raises ModelError where `content` is no packed bundle.
    """
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "defect-monitor", "bundles")
    place = folder / hashlib.sha256(content).hexdigest()
    if not place.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=folder, prefix=".unpacking-"))
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(scratch, filter="data")
            scratch.chmod(0o755)
            scratch.rename(place)
        except (tarfile.TarError, EOFError) as error:
            raise ModelError(f"a model that was received cannot be unpacked: {error}") from error
        except OSError as error:
            if not place.exists():  # else another process was quicker
                raise ModelError(f"a model cannot be unpacked into {place}: {error.strerror}") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return load_bundle(place)
