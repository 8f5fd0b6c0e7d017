"""The bundle that a training goes on from, before any network is loaded."""

from pathlib import Path

from monitor.errors import UsageError
from monitor.learning.datasets.tiling import Tiling
from monitor.models.card import ModelCard, read_card
from monitor.models.registry import SHIPPED_DIR


def find_start(init: str) -> str:
    """Return what `init` names: the folder of a shipped bundle by its name, anything else as it is."""
    shipped = SHIPPED_DIR / init
    return str(shipped) if init.strip("./") and (shipped / "card.json").is_file() else init


def bundle_to_tune(init: str) -> ModelCard | None:
    """Return the card of the bundle at `init`, None where it is no folder. Raises `ModelError`."""
    return read_card(Path(init)) if Path(init).is_dir() else None


def keep_geometry(
    start: ModelCard, tiling: Tiling | None, side: int | None
) -> tuple[Tiling, tuple[int, int]]:
    """Return how frames are cut and the size of the input (height, width): those of `start`.

    Raises `UsageError` where `tiling` or `side` asks for others, which its features do not fit.
    """
    known = Tiling.of(start.training)
    if tiling not in (None, known):
        raise UsageError(
            f"{start.name} was trained on {known}: fine-tuning keeps them (--recipe default does not)"
        )
    if side is not None and (side, side) != start.input_size:
        height, width = start.input_size
        raise UsageError(
            f"{start.name} takes {width}x{height} pixels: fine-tuning keeps them, leave out --size"
        )
    return known, start.input_size
