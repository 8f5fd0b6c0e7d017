"""What the text of a source means, and how to show it without its secrets. Pure: no disk, no network."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, quote, urlsplit

from monitor.errors import SourceError

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)


# Up to the last @: a password that was not percent-encoded may hold / ? # or @ itself.
_USER = re.compile(r"^([a-z][a-z0-9+.-]*://).*@", re.IGNORECASE | re.DOTALL)


_SECRET = re.compile(
    r"((?:user(?:name)?|pass(?:word|wd)?|pwd|token|key|secret|auth)=)[^&#]*", re.IGNORECASE | re.DOTALL
)


_MAX_LOGIN = 127
"""Characters that FFmpeg has room for: a longer user and password would be cut, and refused."""


_UNENCODED_CHARS = re.compile(r"[\s\"'<>`{}|\\^]")


_SAFE = "!$&()*+,;=-._~"


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """The options of `simulate:`; sizes in pixels, `defect_rate` a probability."""

    seed: int = 0
    width: int = 512
    height: int = 512
    defect_rate: float = 0.05


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """A source: `location` is a device path, a URL, or a path or glob of files, according to `kind`."""

    kind: Literal["device", "stream", "simulation", "files"]
    location: str
    simulation: SimulationOptions = SimulationOptions()


def redact_url(url: str) -> str:
    """Return `url` on one line with `***` for user, password and values that look like secrets.

    Rather hides too much than too little. Text that is no URL is returned as it is, but for line breaks.
    """
    if "://" in url:
        url = _SECRET.sub(r"\1***", _USER.sub(r"\1***@", url))
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in url)


def parse_address(source: str) -> SourceAddress:
    """Return what `source` names: a device, a stream, the simulation, or a file, folder or glob.

    Does not check whether it exists. Raises SourceError, cause `invalid`, for a text that names nothing.
    """
    if not source.strip() or any(ord(char) < 32 for char in source):
        raise SourceError(
            "invalid",
            f"the source '{redact_url(source)}' must be one line of text without control characters",
        )
    if source.isdecimal() and source.isascii():
        return SourceAddress("device", f"/dev/video{int(source)}")
    if source.startswith("/dev/"):
        return SourceAddress("device", source)
    scheme = _SCHEME.match(source)
    if scheme and scheme[1].lower() == "simulate":
        return SourceAddress(
            "simulation", source, _simulation(source, source[scheme.end(1) + 1 :].removeprefix("?"))
        )
    if scheme and scheme[1].lower() in ("rtsp", "rtsps", "http", "https"):
        return SourceAddress("stream", _validate_url(source))
    if scheme and scheme[2]:
        raise SourceError(
            "invalid",
            f"{redact_url(source)}: '{scheme[1]}://' is no kind of source; "
            "use rtsp://, rtsps://, http://, https:// or simulate:",
        )
    return SourceAddress("files", source)


def with_login(url: str, username: str, password: str) -> str:
    """Return `url` with user and password, percent-encoded. Any text is a password, in any script.

    Raises SourceError, cause `invalid`, for a URL that is no stream or has a user already, and for a login
    that is too long for FFmpeg (127 characters, three for each byte that must be encoded).
    """
    if parse_address(url).kind != "stream":
        raise SourceError(
            "invalid", "username and password are for rtsp://, rtsps://, http:// and https:// only"
        )
    scheme, _, rest = url.partition("://")
    if urlsplit(url).username is not None:
        raise SourceError("invalid", f"{redact_url(url)}: a user is given twice, in source and as username")
    if ":" in username:
        raise SourceError("invalid", f"{redact_url(url)}: a username must not contain ':'")
    # The unreserved characters and those that end no part of a URL stay as they are, to save room.
    login = f"{quote(username, safe=_SAFE)}:{quote(password, safe=_SAFE)}"
    if len(login) > _MAX_LOGIN:
        raise SourceError(
            "invalid",
            f"{redact_url(url)}: user and password take {len(login)} characters when encoded, "
            f"{_MAX_LOGIN} at most",
        )
    return f"{scheme}://{login}@{rest}"


def _validate_url(url: str) -> str:
    shown = redact_url(url)
    if _UNENCODED_CHARS.search(url):
        raise SourceError(
            "invalid", f"{shown}: a space, quote or bracket in a URL must be percent-encoded, such as %20"
        )
    try:
        parts = urlsplit(url)
        valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SourceError(
            "invalid",
            f"{shown}: not of the form scheme://host:port/path; write a password with / ? # @ as the key "
            "password, or percent-encode it",
        )
    return url


def _simulation(source: str, options: str) -> SimulationOptions:
    read = {"seed": int, "defect_rate": float, "size": str}
    given: dict[str, int | float] = {}
    try:
        for name, value in parse_qsl(options, keep_blank_values=True, strict_parsing=bool(options)):
            if name == "size":
                width, height = value.lower().split("x")
                given |= {"width": int(width), "height": int(height)}
            else:
                given[name] = read[name](value)
        return SimulationOptions(**given)  # type: ignore[arg-type]  # each value was read by its own type above
    except (ValueError, KeyError) as error:
        raise SourceError(
            "invalid",
            f"{redact_url(source)}: {error}; write it as simulate:?seed=1&defect_rate=0.1&size=512x512",
        ) from error
