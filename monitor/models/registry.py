"""The models that ship with the package, one folder each."""

from pathlib import Path

from monitor.errors import ModelError

SHIPPED_DIR = Path(__file__).parent / "shipped"


def resolve_model_path(name_or_path: str) -> Path:
    """Find the folder of a bundle: that at a path, or the shipped one of that name. Raises ModelError."""
    path = Path(name_or_path)
    if path.is_dir():
        return path
    if (SHIPPED_DIR / name_or_path).is_dir() and name_or_path.strip("./"):
        return SHIPPED_DIR / name_or_path
    known = sorted(folder.name for folder in SHIPPED_DIR.iterdir() if (folder / "card.json").is_file())
    raise ModelError(
        f"there is no model at {path}, and none that ships has this name (there are: {', '.join(known)})"
    )
