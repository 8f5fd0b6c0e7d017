"""Settings: read whole or refused with every mistake and its place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SettingsError
from monitor.settings import load_settings, parse_settings
from monitor.settings.loader import key_lines

CAMERA = '[[camera]]\nname = "one"\nsource = "simulate:"\n'


def mistakes(text: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        parse_settings(text, "line.toml", environment or {})
    return raised.value.mistakes


def test_a_camera_is_all_that_must_be_said() -> None:
    settings = parse_settings(CAMERA, "line.toml", {})
    assert [camera.name for camera in settings.camera] == ["one"]
    assert settings.redis.prefix == "defects"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CAMERA + "[model]\npth = 'x'\n", "line.toml:5: model.pth: unknown key; did you mean 'path'?"),
        (CAMERA + "frame = 'every'\n", "line.toml:4: camera[1].frame: unknown key; did you mean 'frames'?"),
        (CAMERA + "fps = 'fast'\n", "line.toml:4: camera[1].fps: input should be a valid number"),
        (CAMERA + "loop = 'yes'\n", "line.toml:4: camera[1].loop: input should be a valid boolean"),
        (CAMERA + CAMERA, "line.toml:5: camera[2].name: another camera is named 'one' already"),
        ("", "line.toml: camera: no camera is configured; add a [[camera]] table with name and source"),
        ("[[camera]]\nname = 'a'\n", "line.toml:1: camera[1].source: this key is required"),
        (CAMERA + "roi = [0, 0, -4, 4]\n", "line.toml:1: camera[1]: roi must be"),
        (CAMERA + "[redis\n", "line.toml: not valid TOML"),
        (CAMERA + "[redis]\nfrm = 1\nwrong = nan\n", "line.toml:5: redis.frm: unknown key"),
    ],
)
def test_a_mistake_is_said_with_its_place(text: str, said: str) -> None:
    assert mistakes(text)[0].startswith(said)


def test_every_mistake_is_said_at_once_and_in_file_order() -> None:
    text = "[redis]\nframe_ttl = 'x'\n[model]\npth = 'x'\n[[camera]]\nname = 'a b'\nsource = '${NOPE}'\n"
    assert [line.split(":")[1] for line in mistakes(text)] == ["2", "4", "6", "7"]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"\xff\xfe")
    for path, said in [
        (tmp_path / "none.toml", "there is no such file"),
        (tmp_path, "this is a folder"),
        (tmp_path / "latin.toml", "this is not UTF-8 text"),
    ]:
        with pytest.raises(SettingsError, match=said):
            load_settings(path)


def test_secrets_come_from_the_environment_or_the_credentials_folder(tmp_path: Path) -> None:
    (tmp_path / "redis-password").write_text("from file\n")
    text = CAMERA + '[redis]\nurl = "redis://${HOST}/0"\npassword = "${redis-password}"\n'
    settings = parse_settings(text, "f", {"HOST": "example", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.redis.url.get_secret_value() == "redis://example/0"
    assert settings.redis.password is not None
    assert settings.redis.password.get_secret_value() == "from file"


def test_a_secret_is_never_part_of_a_mistake() -> None:
    said = mistakes(
        CAMERA + "[redis]\npassword = '${P}'\nprefix = '${P}'\ntimeout = '${P}'\n", {"P": "hunter2 x"}
    )
    assert len(said) == 2
    assert "hunter2" not in str(said)


@given(st.lists(st.sampled_from(["[a]", "[[b]]", "k = 1", "'q.x' = 2", "# [c]", ""]), max_size=20))
def test_the_line_found_for_a_key_holds_that_key(lines: list[str]) -> None:
    for path, number in key_lines("\n".join(lines)).items():
        name = str(next(part for part in reversed(path) if isinstance(part, str)))
        assert name in lines[number - 1]
        assert not lines[number - 1].startswith("#")
