"""All texts of the page, in each language, from one catalogue: `texts/en.toml` and its translations."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

DEFAULT = "en"
LANGUAGES = (DEFAULT, "de")
_FOLDER = Path(__file__).with_name("texts")


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return the texts of a language by key, such as `line.title`; English where one is missing."""
    texts = dict(catalogue(DEFAULT)) if language != DEFAULT else {}
    content = tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    return texts | {f"{group}.{key}": text for group, keys in content.items() for key, text in keys.items()}


def translate(language: str, key: str, **values: object) -> str:
    """Return a text with its `{placeholders}` filled; a key without a text, such as a new cause, as it is."""
    text = catalogue(language).get(key)
    return key.rpartition(".")[2] if text is None else text.format(**values)


def choose_language(cookie: str | None, accepted: str) -> str:
    """Return the language of the cookie, else the first known one of an `Accept-Language` header."""
    wanted = [cookie or "", *(part.split(";")[0].split("-")[0].strip() for part in accepted.split(","))]
    return next((language for language in wanted if language in LANGUAGES), DEFAULT)
