"""Recipes: the settings of another product, applied as a whole or refused."""

from pathlib import Path

import pytest

from monitor.errors import SettingsError
from monitor.settings import load_settings

LINE = """
[model]
threshold = 0.4
[[camera]]
name = "top"
source = "simulate:"
roi = [0, 0, 100, 100]
fps = 5
[[camera]]
name = "side"
source = "simulate:"
"""


@pytest.fixture
def line(tmp_path: Path) -> Path:
    (tmp_path / "recipes").mkdir()
    path = tmp_path / "line.toml"
    path.write_text(LINE)
    return path


def write_recipe(line: Path, name: str, text: str, *, select: bool = True) -> None:
    (line.parent / "recipes" / f"{name}.toml").write_text(text)
    if select:
        (line.parent / "recipes/line.current").symlink_to(f"{name}.toml")


def test_a_recipe_changes_what_it_names_and_nothing_else(line: Path) -> None:
    text = '[model]\npath = "models/cups"\n[[camera]]\nname = "top"\nroi = [9, 0, 50, 60]\nthreshold = 0.7\n'
    before = load_settings(line)
    write_recipe(line, "cups", text)
    settings = load_settings(line)
    assert (before.recipe, settings.recipe) == (None, "cups")
    assert (settings.model.path, settings.model.threshold) == ("models/cups", 0.4)
    top, side = settings.camera
    assert (top.roi, top.threshold, top.fps) == ((9, 0, 50, 60), 0.7, 5)
    assert side == before.camera[1]


def test_the_selected_recipe_goes_before_that_of_the_settings(line: Path) -> None:
    line.write_text('recipe = "plates"\n' + LINE)
    write_recipe(line, "plates", "[model]\nthreshold = 0.1\n", select=False)
    assert load_settings(line).model.threshold == 0.1
    write_recipe(line, "cups", "[model]\nthreshold = 0.2\n")
    assert (load_settings(line).model.threshold, load_settings(line).recipe) == (0.2, "cups")


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("[model]\npth = 'x'\n", r"cups\.toml:2: model\.pth: unknown key; did you mean 'path'\?"),
        ('[[camera]]\nname = "top"\nfps = 3\n', r"cups\.toml:3: camera\[1\]\.fps: unknown key"),
        ('[[camera]]\nname = "top"\nroi = [0, 0, 0, 1]\n', r"cups\.toml:3: camera\[1\]\.roi: must be"),
        ('[[camera]]\nname = "tpo"\n', "recipe cups: there is no camera named 'tpo'"),
    ],
)
def test_a_mistake_in_a_recipe_is_reported_with_its_place(line: Path, recipe: str, expected: str) -> None:
    write_recipe(line, "cups", recipe)
    with pytest.raises(SettingsError, match=expected):
        load_settings(line)


def test_a_recipe_that_is_missing_or_outside_its_folder_is_refused(line: Path) -> None:
    for name, expected in [("none", "there is no such file"), ("../x", "recipe: must be 1 to 64 letters")]:
        line.write_text(f'recipe = "{name}"\n' + LINE)
        with pytest.raises(SettingsError, match=expected):
            load_settings(line)
