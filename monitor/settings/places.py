"""On which line of a TOML text each key stands, so that a mistake can be said with its place."""

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_FENCE = re.compile(r'"""|\'\'\'')


def lines_of_keys(text: str) -> dict[Path, int]:
    """Line, from 1, of every table header and key of a valid TOML text, without those of inline tables."""
    lines: dict[Path, int] = {}
    arrays: dict[Path, int] = {}
    table: Path = ()
    inside_string = False
    for number, line in enumerate(text.splitlines(), start=1):
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


def nearest_line(lines: dict[Path, int], path: Path) -> int | None:
    """Line of the key at `path`, else of the nearest table around it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def _parts(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _indexed(table: Path, arrays: dict[Path, int]) -> Path:
    path: Path = ()
    plain: Path = ()
    for part in table:
        path, plain = (*path, part), (*plain, part)
        if plain in arrays:
            path = (*path, arrays[plain])
    return path
