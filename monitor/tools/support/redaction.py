"""Removes secrets from text: known ones anywhere, others by the words around them. Pure."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote

MIN_SECRET_LENGTH = 4
"""Minimum length of a known secret; a shorter one would match in ordinary words."""


_HIDDEN = "***"


_URL = re.compile(r"([a-z][a-z0-9+.-]{0,20}://)[^\s\"'<>]*@", re.IGNORECASE)


_HEADER = re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+", re.IGNORECASE)


_NAMED = re.compile(
    r"((?:pass(?:word|wd|phrase)?|pwd|token|secret|api_?key|credential)[\"']?\s*[=:]\s*)"
    r"(?!null\b)(?:(?P<quote>[\"'])(?:[^\"'\\]|\\.)*[\"']|[^\s,;&\"'}\])]+)",
    re.IGNORECASE,
)


class Redactor:
    """Replaces secrets by `***`; in doubt it replaces too much.

    Secrets are the given ones, of at least `MIN_SECRET_LENGTH` characters, in any usual spelling; users and
    passwords in URLs; and the values of `password=`, `token:` and similar names.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spellings = {
            spelling
            for secret in secrets
            for spelling in _spellings(secret)
            if len(spelling) >= MIN_SECRET_LENGTH and spelling != _HIDDEN
        }
        longest_first = sorted(spellings, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """Return `text` without secrets."""
        if self._known is not None:
            text = self._known.sub(_HIDDEN, text)
        text = _URL.sub(rf"\1{_HIDDEN}@", text)
        text = _HEADER.sub(rf"\1{_HIDDEN}", text)
        return _NAMED.sub(
            lambda found: f"{found[1]}{found['quote'] or ''}{_HIDDEN}{found['quote'] or ''}", text
        )


def _spellings(secret: str) -> set[str]:
    plain = {secret, unquote(secret)}
    return plain | {
        spelt
        for text in plain
        for spelt in (
            quote(text),
            quote(text, safe=""),
            quote_plus(text),
            json.dumps(text)[1:-1],
            repr(text)[1:-1],
        )
    }
