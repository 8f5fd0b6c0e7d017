"""Hashes of passwords: scrypt (RFC 7914) with a random salt, as one text."""

import base64
import hashlib
import hmac
import secrets

_N, _R, _P = 2**15, 8, 1  # about 0.1 s and 32 MB for each try
_MEMORY = 2 * 128 * _N * _R


def hash_password(password: str) -> str:
    """Return `scrypt$N$r$p$salt$hash` of a password, with a new salt."""
    salt = secrets.token_bytes(16)
    return "$".join(["scrypt", str(_N), str(_R), str(_P), _encode(salt), _encode(_scrypt(password, salt))])


def verify_password(password: str, hashed: str) -> bool:
    """Whether `hashed` is of this password; False for a hash with other parameters or of another form."""
    try:
        kind, n, r, p, salt, expected = hashed.split("$")
        known = (kind, int(n), int(r), int(p)) == ("scrypt", _N, _R, _P)
        return known and hmac.compare_digest(_scrypt(password, _decode(salt)), _decode(expected))
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY, dklen=32)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
