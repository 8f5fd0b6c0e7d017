"""`defect-monitor recipe`, as its user runs it: what is refused is one sentence and changes nothing."""

from pathlib import Path

import pytest

from monitor.models.bundle import ModelBundle
from tests.cli.conftest import Command, assert_refused
from tests.support.model_copies import copy_bundle

LINE = """
[[camera]]
name = "top"
source = "simulate:"
[[camera]]
name = "side"
source = "simulate:"
"""
RECIPES = {
    "cups": '[[camera]]\nname = "top"\nthreshold = 0.7\n',
    "plates": "[model]\nthreshold = 0.2\n",
    "unknown-camera": '[[camera]]\nname = "tpo"\nthreshold = 0.7\n',
    "twice": '[[camera]]\nname = "top"\nthreshold = 0.7\n[[camera]]\nname = "top"\nthreshold = 0.8\n',
    "no-toml": '[[camera]\nname = "top"\n',
    "unknown-key": '[[camera]]\nname = "top"\ntreshold = 0.7\n',
    "wrong-value": '[[camera]]\nname = "top"\nthreshold = 7\n',
    "no-model": '[model]\npath = "/no/such"\n',
    "damaged": '[[camera]]\nname = "top"\nmodel = "{damaged}"\n',
}


@pytest.fixture
def line(tmp_path: Path, small_bundle: ModelBundle) -> Path:
    damaged = copy_bundle(tmp_path / "damaged", small_bundle.path)
    network = next(damaged.glob("model-*.keras"))
    network.write_bytes(network.read_bytes()[:-1])
    (tmp_path / "recipes").mkdir()
    for name, text in RECIPES.items():
        (tmp_path / "recipes" / f"{name}.toml").write_text(text.replace("{damaged}", str(damaged)))
    path = tmp_path / "line.toml"
    path.write_text(LINE)
    return path


def in_force(command: Command, line: Path) -> list[str]:
    ended = command("recipe", "list", "-c", line)
    assert ended.code == 0
    assert [each[2:] for each in ended.out.splitlines()] == sorted(
        path.stem for path in line.parent.glob("recipes/*.toml")
    )
    return [each[2:] for each in ended.out.splitlines() if each.startswith("* ")]


def test_a_recipe_is_put_into_force_and_replaced_by_another(command: Command, line: Path) -> None:
    assert in_force(command, line) == []
    for name in ("cups", "plates"):
        ended = command("recipe", "use", name, "-c", line)
        assert ended == (0, f"recipe {name} is in force; reload the daemon to apply it\n", "")
        assert in_force(command, line) == [name]
        assert command("check-config", line).code == 0


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("nosuch", 2, "recipes/nosuch.toml: there is no such file"),
        ("../line", 2, "'../line' is not the name of a recipe"),
        ("unknown-camera", 2, "recipe unknown-camera: there is no camera named 'tpo' in the settings"),
        ("twice", 2, "recipes/twice.toml:5: camera[2].name: another camera is named 'top' already"),
        ("no-toml", 2, "recipes/no-toml.toml: not valid TOML: "),
        (
            "unknown-key",
            2,
            "recipes/unknown-key.toml:3: camera[1].treshold: unknown key; did you mean 'threshold'",
        ),
        ("wrong-value", 2, "recipes/wrong-value.toml:3: camera[1].threshold: input should be less than"),
        ("no-model", 1, "there is no model at /no/such"),
        ("damaged", 1, "SHA-256 differs): altered or damaged"),
    ],
)
def test_a_recipe_with_a_mistake_is_one_sentence_and_changes_nothing(
    command: Command, line: Path, *, name: str, code: int, sentence: str
) -> None:
    command("recipe", "use", "cups", "-c", line)
    assert_refused(command("recipe", "use", name, "-c", line), code, sentence)
    assert in_force(command, line) == ["cups"]


def test_a_recipe_in_force_that_was_deleted_is_replaced_by_another(command: Command, line: Path) -> None:
    command("recipe", "use", "cups", "-c", line)
    (line.parent / "recipes/cups.toml").unlink()
    assert_refused(command("check-config", line), 2, "recipes/cups.toml: there is no such file")
    assert in_force(command, line) == []
    assert command("recipe", "use", "plates", "-c", line).code == 0
    assert in_force(command, line) == ["plates"]


def test_settings_with_a_mistake_are_reported_and_not_the_recipe(command: Command, line: Path) -> None:
    line.write_text(LINE + "fsp = 3\n")
    for arguments in (("use", "cups"), ("list",)):
        ended = command("recipe", *arguments, "-c", line)
        assert_refused(ended, 2, "line.toml:8: camera[2].fsp: unknown key; did you mean 'fps'?")
    assert_refused(
        command("recipe", "list", "-c", "/no/such.toml"), 2, "/no/such.toml: there is no such file"
    )


def test_a_folder_that_may_not_be_written_is_one_sentence(unprivileged_command: Command, line: Path) -> None:
    (line.parent / "recipes").chmod(0o555)
    ended = unprivileged_command("recipe", "use", "cups", "-c", line)
    assert_refused(ended, 2, "recipes/line.current cannot be written: Permission denied")
    assert not (line.parent / "recipes/line.current").is_symlink()
