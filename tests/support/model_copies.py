"""Copies of a bundle that count as other models."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from monitor.models.registry import SHIPPED_DIR

SHIPPED = SHIPPED_DIR / "dagm-class1"


def copy_bundle(folder: Path, source: Path = SHIPPED, **card: Any) -> Path:
    """A bundle with other values in its card."""
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".ready"))
    _change_card(folder, card)
    return folder


def copy_network(folder: Path, source: Path = SHIPPED, **card: Any) -> Path:
    """The same with another hash of its network, which is packed in another order."""
    copy_bundle(folder, source, **card)
    network = next(folder.glob("model-*.keras"))
    with ZipFile(network) as packed:
        parts = [(info, packed.read(info)) for info in packed.infolist()]
    with ZipFile(network, "w") as packed:
        for info, content in reversed(parts):
            packed.writestr(info, content)
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    _change_card(folder, {"model": {"file": network.name, "sha256": digest}})
    return folder


def _change_card(folder: Path, changes: dict[str, Any]) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))
