"""Define recipes: what of a line's settings another product needs, one TOML file each in `recipes/`.

`recipes/<name>.toml` lies beside the settings file. The link `recipes/<settings>.current`, made by
`defect-monitor recipe use`, leads to the recipe in force of `<settings>.toml`.
"""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from monitor.errors import SettingsError
from monitor.settings.base import Name, SettingsTable, Share, validate_names_differ
from monitor.settings.camera import Overlap, Roi, Tiles
from monitor.settings.schema import ModelSettings, Settings


class RecipeCamera(SettingsTable):
    """What a recipe changes of one camera; a key that is missing stays as in the settings."""

    name: Name
    """Name of a camera of the settings."""
    model: str | None = None
    """As in the settings."""
    threshold: Share | None = None
    """As in the settings."""
    explain: bool | None = None
    """As in the settings."""
    roi: Roi | None = None
    """As in the settings."""
    tiles: Tiles = (1, 1)
    """As in the settings."""
    overlap: Overlap = 0.0
    """As in the settings."""


class Recipe(SettingsTable):
    """What a recipe changes of the settings."""

    model: ModelSettings = ModelSettings()
    """The network of cameras without one of their own."""
    camera: Annotated[tuple[RecipeCamera, ...], AfterValidator(validate_names_differ)] = ()
    """Changes of cameras, one `[[camera]]` table each."""

    def apply(self, settings: Settings, name: str) -> Settings:
        """Return `settings` with the changes of this recipe, which is called `name`. Raises SettingsError."""
        changes = {it.name: it.model_dump(exclude_unset=True, exclude={"name"}) for it in self.camera}
        unknown = sorted(changes.keys() - {camera.name for camera in settings.camera})
        if unknown:
            raise SettingsError(f"recipe {name}: there is no camera named '{unknown[0]}' in the settings")
        cameras = tuple(it.model_copy(update=changes.get(it.name, {})) for it in settings.camera)
        model = settings.model.model_copy(update=self.model.model_dump(exclude_unset=True))
        return settings.model_copy(update={"camera": cameras, "model": model, "recipe": name})


def recipe_path(settings_file: Path, name: str) -> Path:
    """Return the file of the recipe `name`. Raises SettingsError for what is no name of a recipe."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
        raise SettingsError(f"'{name}' is not the name of a recipe: use letters, digits, '_', '.' and '-'")
    return settings_file.parent / "recipes" / f"{name}.toml"


def recipe_link(settings_file: Path) -> Path:
    """Return the link to the recipe in force."""
    return settings_file.parent / "recipes" / f"{settings_file.stem}.current"


def recipes(settings_file: Path) -> list[str]:
    """Return the names of all recipes beside the settings, in order."""
    return sorted(path.stem for path in (settings_file.parent / "recipes").glob("*.toml"))


def selected_recipe(settings_file: Path) -> str | None:
    """Return the name of the recipe that `recipe use` selected; None where it never did."""
    try:
        return Path(recipe_link(settings_file).readlink().name).stem
    except OSError:
        return None
