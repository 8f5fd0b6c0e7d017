"""Show settings without their secrets, and list the secrets, so that other texts can be redacted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from monitor.capture.sources.address import redact_url
from monitor.settings.loader import VARIABLE, decode_text
from monitor.settings.schema import Settings

_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|API_?KEY|PRIVATE", re.IGNORECASE)


_MAX_BYTES = 65_536  # of a credential


def redacted(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values, with `***` for passwords and for users in URLs."""
    shown = settings.model_dump(mode="json")
    shown["camera"] = [{**camera, "source": redact_url(camera["source"])} for camera in shown["camera"]]
    return shown


def find_secrets(settings: Settings | None, text: str, environment: Mapping[str, str]) -> set[str]:
    """Return every secret that these settings, their file's text and the environment hold.

    Secrets are passwords, values of `${NAME}`, variables with names such as `…PASSWORD`, and all files in
    `$CREDENTIALS_DIRECTORY`.
    """
    found = {environment.get(name, "") for name in VARIABLE.findall(text)}
    found |= {value for name, value in environment.items() if _SECRET_NAME.search(name)}
    folder = environment.get("CREDENTIALS_DIRECTORY")
    found |= set(_texts(sorted(Path(folder).glob("*")) if folder else []))
    if settings is not None:
        redis = settings.redis
        passwords = (camera.password for camera in settings.camera)
        hashes = (user.password for user in settings.page.users.values())
        given = (
            redis.url,
            redis.password,
            redis.sentinel_password,
            settings.page.redis_password,
            settings.inference.pool_token,
            *passwords,
            *hashes,
        )
        found |= {secret.get_secret_value() for secret in given if secret is not None}
        found |= set(_texts([Path(redis.password_file)] if redis.password_file else []))
        for url in (redis.url.get_secret_value(), *(camera.address for camera in settings.camera)):
            found |= set(_of_url(url))
    return found - {""}


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    """Return each file's text, and each of its lines."""
    for path in paths:
        try:
            data = path.read_bytes()[:_MAX_BYTES]
        except OSError:
            continue  # an unreadable file cannot be disclosed
        try:
            text = decode_text(data)
        except UnicodeDecodeError:
            text = data.decode(errors="replace")
        yield from {text.strip(), *(line.strip() for line in text.splitlines())}


def _of_url(url: str) -> Iterator[str]:
    """Return the password of a URL, and the values of its query that `redact_url` hides."""
    if "://" not in url:
        return
    try:
        parts = urlsplit(url)
    except ValueError:
        return
    yield from (parts.password or "", unquote(parts.password or ""))
    for name, value in parse_qsl(parts.query):
        if redact_url(f"x://h/?{name}={value}") != f"x://h/?{name}={value}":
            yield value
