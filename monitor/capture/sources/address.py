"""What a source's text means, and how to show it without its secrets. Pure: looks at no disk or network."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from monitor.errors import SourceError

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*):(//)?", re.IGNORECASE)


# Up to the last @: a password that was not percent-encoded may itself hold / ? # or @.
_USER = re.compile(r"^([a-z][a-z0-9+.-]*://).*@", re.IGNORECASE | re.DOTALL)


_SECRET = re.compile(
    r"((?:user(?:name)?|pass(?:word|wd)?|pwd|token|key|secret|auth)=)[^&#]*", re.IGNORECASE | re.DOTALL
)


_UNENCODED_CHARS = re.compile(r"[\s\"'<>`{}|\\^]")


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
    """`url` fit for a message: on one line, `***` for user, password and values that look like secrets.

    Rather hides too much than too little. Text that is no URL comes back as it is, but for line breaks.
    """
    if "://" in url:
        url = _SECRET.sub(r"\1***", _USER.sub(r"\1***@", url))
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in url)


def parse_address(source: str) -> SourceAddress:
    """What `source` names: a device, a stream, the simulation, or a file, folder or glob.

    Raises SourceError, cause `invalid`, for what cannot be meant; whether the thing exists is not looked at.
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
    if scheme and scheme[1].lower() in ("rtsp", "rtsps"):
        return SourceAddress("stream", _validate_url(source))
    if scheme and scheme[2]:
        raise SourceError(
            "invalid",
            f"{redact_url(source)}: '{scheme[1]}://' is no kind of source; rtsp://, rtsps:// and simulate: are",
        )
    return SourceAddress("files", source)


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
            f"{shown}: not of the form rtsp://host:port/path; / ? # @ in a password must be percent-encoded",
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
