"""`defect-monitor recipe`: the settings of the product that is on the line."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Switch a line to the settings of another product.", no_args_is_help=True)


Config = Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML) of the line.")]


@app.command("list")
def list_recipes(config: Config) -> None:
    """List the recipes beside CONFIG (`recipes/NAME.toml`); `*` marks the one in force."""
    import os

    from monitor.settings import parse_settings
    from monitor.settings.loader import read_text
    from monitor.settings.recipe import recipes, selected_recipe

    # Without what the recipe in force changes: it may be the one that cannot be used.
    settings = parse_settings(read_text(config), str(config), os.environ)
    current = selected_recipe(config) or settings.recipe
    for name in recipes(config):
        print(f"{'*' if name == current else ' '} {name}")


@app.command()
def use(name: Annotated[str, typer.Argument(help="Name of the recipe.")], config: Config) -> None:
    """Put the recipe NAME into force, if its settings and models can be used; otherwise change nothing.

    A running daemon uses it after SIGHUP (`systemctl reload defect-monitor`).
    """
    import os

    from monitor.bootstrap.inference import cameras_by_model
    from monitor.errors import SettingsError
    from monitor.models.bundle import load_bundle
    from monitor.models.store import replace_link
    from monitor.settings import load_recipe, parse_settings
    from monitor.settings.loader import read_text
    from monitor.settings.recipe import recipe_link, recipe_path

    recipe = load_recipe(config, name)
    settings = parse_settings(read_text(config), str(config), os.environ)
    for path in cameras_by_model(recipe.apply(settings, name)):
        load_bundle(path)
    try:
        replace_link(recipe_link(config), recipe_path(config, name).name)
    except OSError as error:
        raise SettingsError(f"{recipe_link(config)} cannot be written: {error.strerror or error}") from error
    print(f"recipe {name} is in force; reload the daemon to apply it")
