"""Settings: read whole or refused with every mistake and its place."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import SettingsError
from monitor.settings import load_settings, parse_settings
from monitor.settings.loader import key_lines
from monitor.settings.secrecy import find_secrets

CAMERA = '[[camera]]\nname = "one"\nsource = "simulate:"\n'


def mistakes(text: str, environment: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        parse_settings(text, "line.toml", environment or {})
    return raised.value.mistakes


def test_only_a_camera_is_required() -> None:
    settings = parse_settings(CAMERA, "line.toml", {})
    assert [camera.name for camera in settings.camera] == ["one"]
    assert settings.redis.prefix == "defects"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CAMERA + "[model]\npth = 'x'\n", "line.toml:5: model.pth: unknown key; did you mean 'path'?"),
        (CAMERA + "frame = 'every'\n", "line.toml:4: camera[1].frame: unknown key; did you mean 'frames'?"),
        (CAMERA + "fps = 'fast'\n", "line.toml:4: camera[1].fps: input should be a valid number"),
        (CAMERA + "loop = 'yes'\n", "line.toml:4: camera[1].loop: input should be a valid boolean"),
        (CAMERA + CAMERA, "line.toml:5: camera[2].name: another camera is named 'one' already"),
        ("", "line.toml: camera: no camera is configured; add a [[camera]] table with name and source"),
        ("[[camera]]\nname = 'a'\n", "line.toml:1: camera[1].source: this key is required"),
        (CAMERA + "roi = [0, 0, -4, 4]\n", "line.toml:4: camera[1].roi: must be [x, y, width, height]"),
        (CAMERA + "[redis\n", "line.toml: not valid TOML"),
        (CAMERA + "[redis]\nfrm = 1\nwrong = nan\n", "line.toml:5: redis.frm: unknown key"),
        (
            CAMERA + "[inference]\npool = 'ray://h:1'\n",
            "line.toml:5: inference.pool: give the pool's address as http://host:port",
        ),
        (
            CAMERA + "shadow = 'other'\n",
            "line.toml: camera 'one' has a shadow model: set samples.publish = true",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_place(text: str, expected: str) -> None:
    assert mistakes(text)[0].startswith(expected)


def test_every_mistake_is_reported_at_once_and_in_file_order() -> None:
    text = "[redis]\nframe_ttl = 'x'\n[model]\npth = 'x'\n[[camera]]\nname = 'a b'\nsource = '${NOPE}'\n"
    assert [line.split(":")[1] for line in mistakes(text)] == ["2", "4", "6", "7"]


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xe9t\xe9")
    for path, expected in [
        (tmp_path / "none.toml", "there is no such file"),
        (tmp_path, "this is a folder"),
        (tmp_path / "latin.toml", "this is not UTF-8 text"),
    ]:
        with pytest.raises(SettingsError, match=expected):
            load_settings(path)


def test_secrets_come_from_the_environment_or_the_credentials_folder(tmp_path: Path) -> None:
    (tmp_path / "redis-password").write_text("from file\n")
    text = CAMERA + '[redis]\nurl = "redis://${HOST}/0"\npassword = "${redis-password}"\n'
    settings = parse_settings(text, "f", {"HOST": "example", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert settings.redis.url.get_secret_value() == "redis://example/0"
    assert settings.redis.password is not None
    assert settings.redis.password.get_secret_value() == "from file"


def test_a_secret_is_never_part_of_a_mistake() -> None:
    found = mistakes(
        CAMERA + "[redis]\npassword = '${P}'\nprefix = '${P}'\ntimeout = '${P}'\n", {"P": "hunter2 x"}
    )
    assert len(found) == 2
    assert "hunter2" not in str(found)


@given(st.lists(st.sampled_from(["[a]", "[[b]]", "k = 1", "'q.x' = 2", "# [c]", ""]), max_size=20))
def test_the_line_found_for_a_key_holds_that_key(lines: list[str]) -> None:
    for path, number in key_lines("\n".join(lines)).items():
        name = str(next(part for part in reversed(path) if isinstance(part, str)))
        assert name in lines[number - 1]
        assert not lines[number - 1].startswith("#")


ENCODINGS = {
    "utf-8": "utf-8",
    "utf-8 with mark": "utf-8-sig",
    "utf-16": "utf-16",
    "utf-16 big endian": "utf-16-be",
}


def encoded(text: str, encoding: str) -> bytes:
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    return (mark + text).encode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_settings_that_any_editor_saved_are_read(tmp_path: Path, encoding: str, line_break: str) -> None:
    text = (CAMERA + "# Prüfstand\n[redis]\nprefix = 'line'\n").replace("\n", line_break)
    path = tmp_path / "line.toml"
    path.write_bytes(encoded(text, encoding))
    assert load_settings(path).redis.prefix == "line"
    path.write_bytes(encoded(text + f"wrong = 1{line_break}", encoding))
    with pytest.raises(SettingsError, match=r"line\.toml:7: redis\.wrong: unknown key"):
        load_settings(path)


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
def test_settings_in_another_encoding_are_one_sentence(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "line.toml"
    path.write_bytes((CAMERA + "# Prüfstand\n").encode(encoding))
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert len(caught.value.mistakes) == 1
    assert "UTF-8" in caught.value.mistakes[0]


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff\0"), min_size=1),
    st.sampled_from(sorted(ENCODINGS.values())),
    st.sampled_from(["", "\n", "\r\n", "\n\n"]),
)
def test_a_secret_is_what_was_typed_whatever_editor_saved_it(
    tmp_path_factory: pytest.TempPathFactory, secret: str, encoding: str, ending: str
) -> None:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "secret").write_bytes(encoded(secret + ending, encoding))
    environment = {"CREDENTIALS_DIRECTORY": str(folder)}
    settings = parse_settings(CAMERA + "[redis]\npassword = '${secret}'\n", "f", environment)
    assert settings.redis.password is not None
    assert settings.redis.password.get_secret_value() == secret
    assert secret.strip() in find_secrets(settings, "", environment) | {""}


def test_a_secret_that_cannot_be_used_is_named_without_its_value(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"hunt\xfcr2\n")
    (tmp_path / "folder").mkdir()
    text = CAMERA + "[redis]\nusername = '${latin}'\npassword = '${folder}'\nsentinel_password = '${ENV}'\n"
    found = mistakes(text, {"CREDENTIALS_DIRECTORY": str(tmp_path), "ENV": os.fsdecode(b"hunt\xfcr2")})
    assert [line.partition(": ${")[0].partition(": the ")[0] for line in found] == [
        "line.toml:5: redis.username",
        "line.toml:6: redis.password",
        "line.toml:7: redis.sentinel_password",
    ]
    assert "not UTF-8" in found[0]
    assert "cannot be read: Is a directory" in found[1]
    assert "not UTF-8" in found[2]
    assert "hunt" not in str(found)


@pytest.mark.parametrize("source", ["rtsp://camera/live", "0", "simulate:"])
def test_only_folders_are_watched(source: str) -> None:
    camera = f'[[camera]]\nname = "one"\nsource = "{source}"\nwatch = true\n'
    assert "watch is for a folder" in mistakes(camera)[0]


def test_watching_and_looping_exclude_each_other() -> None:
    camera = '[[camera]]\nname = "one"\nsource = "folder"\nwatch = true\n'
    assert parse_settings(camera, "f", {}).camera[0].watch
    assert "set one of them" in mistakes(camera + "loop = true\n")[0]
