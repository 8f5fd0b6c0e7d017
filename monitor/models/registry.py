"""The models that ship with the package, one folder each."""

from pathlib import Path

from monitor.errors import ModelError, printable

SHIPPED_DIR = Path(__file__).parent / "shipped"


def resolve_model_path(name_or_path: str) -> Path:
    """Find the folder of a bundle: that at a path, or the shipped one of that name. Raises ModelError.

    Symbolic links are followed, so that all files come from one bundle while `current` of a store changes.
    """
    path = Path(name_or_path)
    if path.is_dir():
        _reject_unreadable_name(path)
        return path.resolve()
    if (SHIPPED_DIR / name_or_path).is_dir() and name_or_path.strip("./"):
        return SHIPPED_DIR / name_or_path
    known = sorted(folder.name for folder in SHIPPED_DIR.iterdir() if (folder / "card.json").is_file())
    raise ModelError(
        f"there is no model at {path}, and none that ships has this name (there are: {', '.join(known)})"
    )


def _reject_unreadable_name(path: Path) -> None:
    """Raise for a path that TensorFlow and OpenVINO, which open paths as UTF-8, cannot open."""
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError as error:
        raise ModelError(
            f"the model folder {printable(path)} has a name that is not UTF-8, which TensorFlow cannot open: "
            "rename the folder"
        ) from error
