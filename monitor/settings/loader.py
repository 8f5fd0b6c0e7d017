"""Read settings from a TOML file, or report every mistake in it with its location."""

import codecs
import difflib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitor.errors import SettingsError
from monitor.settings.base import SettingsTable
from monitor.settings.recipe import Recipe, recipe_path, selected_recipe
from monitor.settings.schema import Settings

_Table = TypeVar("_Table", bound=SettingsTable)


KeyPath = tuple[str | int, ...]
"""The location of a key: names of tables and keys, and indices of arrays."""


VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_.-]*)\}")
"""How a text refers to an environment variable or a credential: `${NAME}`."""


def load_settings(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of the file at `path`, in UTF-8 or, with a byte order mark, UTF-16.

    `${NAME}` inside a string stands for the environment variable of that name or, where there is none,
    for the text of the file NAME in `$CREDENTIALS_DIRECTORY` without its trailing line breaks.
    The recipe in force, if there is one, is applied. Raises SettingsError with every mistake, one sentence
    each.
    """
    settings = parse_settings(read_text(path), str(path), environment)
    name = selected_recipe(path) or settings.recipe
    return settings if name is None else load_recipe(path, name, environment).apply(settings, name)


def load_recipe(settings_file: Path, name: str, environment: Mapping[str, str] = os.environ) -> Recipe:
    """Return the recipe `name` beside the settings file; mistakes are reported as by `load_settings`."""
    return load_table(recipe_path(settings_file, name), Recipe, environment)


def load_table(path: Path, table: type[_Table], environment: Mapping[str, str] = os.environ) -> _Table:
    """Return the settings `table` of a whole file; mistakes are reported as by `load_settings`."""
    return _parse(table, read_text(path), str(path), environment)


def read_text(path: Path) -> str:
    """Return the text of a settings file. Raises SettingsError."""
    try:
        return decode_text(path.read_bytes())
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise SettingsError(f"{path}: this is a folder, not a settings file") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: this is not UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def decode_text(data: bytes) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark, without the mark.

    Raises UnicodeDecodeError for anything else.
    """
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def parse_settings(text: str, place: str, environment: Mapping[str, str]) -> Settings:
    """Return the settings of a text, without any recipe; `place` names its source in error messages."""
    return _parse(Settings, text, place, environment)


def _parse(table: type[_Table], text: str, place: str, environment: Mapping[str, str]) -> _Table:
    """Return the `table` that a text in TOML holds. Raises SettingsError as `load_settings`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{place}: not valid TOML: {error}") from error
    lines = key_lines(text)

    mistakes: list[tuple[KeyPath, str]] = []

    def expand(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: expand(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [expand(inner, (*path, index)) for index, inner in enumerate(value)]
        if isinstance(value, str):
            return VARIABLE.sub(lambda match: lookup(match[1], path), value)
        return value

    def lookup(name: str, path: KeyPath) -> str:
        try:
            return _variable(name, environment)
        except _UnusableVariableError as error:
            mistakes.append((path, str(error)))
            return "unresolved"

    expanded = expand(content, ())
    settings = None
    try:
        # Strict mode on JSON: "yes" is not accepted as a boolean, but a list is accepted as a tuple.
        settings = table.model_validate_json(json.dumps(expanded, default=repr), strict=True)
    except ValidationError as error:
        unresolved = {path for path, _ in mistakes}
        found = _sentences(error.errors(include_url=False), table)
        mistakes += [(path, sentence) for path, sentence in found if path not in unresolved]
    if settings is None or mistakes:
        lines = key_lines(text)
        placed = [(nearest_line(lines, path) or 0, _dotted(path) + sentence) for path, sentence in mistakes]
        # `from None`: the cause would contain values, including secrets.
        raise SettingsError(*(_placed(place, line, sentence) for line, sentence in sorted(placed))) from None
    return settings


class _UnusableVariableError(Exception):
    """`${NAME}` has no usable value; the text states why in one sentence."""


def _variable(name: str, environment: Mapping[str, str]) -> str:
    """Return the value of `${NAME}`; an error message contains no part of the value."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    try:
        if name in environment:
            environment[name].encode("utf-8")  # bytes that are no UTF-8 are surrogates here
            return environment[name]
        if folder:
            return decode_text((Path(folder) / name).read_bytes()).rstrip("\r\n")
    except FileNotFoundError:
        pass
    except OSError as error:
        sentence = f"the credential ${{{name}}} cannot be read: {error.strerror}"
        raise _UnusableVariableError(sentence) from None
    except UnicodeError:
        raise _UnusableVariableError(f"${{{name}}} is not UTF-8 text") from None
    raise _UnusableVariableError(
        f"${{{name}}} is neither an environment variable nor in $CREDENTIALS_DIRECTORY"
    )


def _placed(place: str, line: int, sentence: str) -> str:
    return f"{place}:{line}: {sentence}" if line else f"{place}: {sentence}"


def _dotted(path: KeyPath) -> str:
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return f"{text}: " if text else ""


def _sentences(details: list[ErrorDetails], table: type[SettingsTable]) -> list[tuple[KeyPath, str]]:
    found = [_sentence(detail, table) for detail in details]
    # For one invalid camera, pydantic also reports too few cameras: report the invalid camera only.
    return [(path, what) for path, what in found if path != ("camera",) or len(found) == 1]


def _sentence(detail: ErrorDetails, table: type[SettingsTable]) -> tuple[KeyPath, str]:
    """Return the location of a mistake and its description; never the value, which may be a secret."""
    path = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            key, known = str(path[-1]), _keys_at(table, path[:-1])
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            return path, "unknown key; " + (
                f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(known)}"
            )
        case "missing" | "too_short" if path == ("camera",):
            return path, "no camera is configured; add a [[camera]] table with name and source"
        case "missing":
            return path, "this key is required"
        case "value_error":
            return path, str(detail["ctx"]["error"])
        case "name_twice":
            return ("camera", detail["ctx"]["index"], "name"), detail["msg"]
        case "string_pattern_mismatch" if path[-1] in ("name", "recipe"):
            return path, "must be 1 to 64 letters, digits, '_', '.' or '-', and begin with a letter or digit"
        case _:
            message = detail["msg"]
            return path, message[0].lower() + message[1:]


def _keys_at(table: type[SettingsTable], path: KeyPath) -> list[str]:
    """Return the names of the keys that the table at `path` of `table` may have."""
    model: Any = table
    for part in path:
        if isinstance(part, int):
            continue
        model = _table_in(model.model_fields[part].annotation)
    return sorted(model.model_fields)


def _table_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and not get_origin(annotation) and issubclass(annotation, BaseModel):
        return annotation
    inner = [found for part in get_args(annotation) if (found := _table_in(part)) is not None]
    if isinstance(annotation, UnionType) or inner:
        return inner[0] if inner else None
    return None


_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")


_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)


_FENCE = re.compile(r'"""|\'\'\'')


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every table header and key of a valid TOML text, without inline tables."""
    lines: dict[KeyPath, int] = {}
    arrays: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside_string = False
    for number, line in enumerate(text.split("\n"), start=1):
        if not inside_string:
            if header := _HEADER.match(line):
                table = _parts(header[2])
                if header[1] == "[[":
                    arrays[table] = arrays.get(table, -1) + 1
                table = _indexed(table, arrays)
                lines.setdefault(table, number)
            elif key := _KEY.match(line):
                lines.setdefault(table + _parts(key[1]), number)
        inside_string ^= len(_FENCE.findall(line)) % 2 == 1
    return lines


def nearest_line(lines: dict[KeyPath, int], path: KeyPath) -> int | None:
    """Return the line of the key at `path`, else of the nearest table around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _indexed(table: KeyPath, arrays: dict[KeyPath, int]) -> KeyPath:
    path: KeyPath = ()
    plain: KeyPath = ()
    for part in table:
        path, plain = (*path, part), (*plain, part)
        if plain in arrays:
            path = (*path, arrays[plain])
    return path
