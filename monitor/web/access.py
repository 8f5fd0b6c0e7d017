"""Users, sessions and the rate of logins. In memory: whoever starts the page again ends all sessions."""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from monitor.web.passwords import hash_password, verify_password
from monitor.web.visitors import Role, Visitor

SESSION_SECONDS = 12 * 3600
"""A session ends this long after the login: a shift and a little more."""

MAX_SESSIONS = 1_000
MAX_TRIES = 5
"""Failed logins for one user, or from one address, within `TRY_WINDOW`; further ones are refused unseen."""

TRY_WINDOW = 60.0
_MAX_TRACKED = 10_000


class User(NamedTuple):
    """A user by the settings."""

    password: str
    role: Role


class TooManyTriesError(Exception):
    """This user or address failed too often; it is free again within a minute."""


@dataclass(frozen=True, slots=True)
class _Session:
    visitor: Visitor
    ends_at: float


class Access:
    """Who may use the page. Callable from any thread. `clock`: monotonic seconds."""

    def __init__(self, users: Mapping[str, User], clock: Callable[[], float] = time.monotonic) -> None:
        self._users = dict(users)
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._nobody = hash_password(secrets.token_hex())  # an unknown name takes as long as a known one
        self._local = Visitor(None, "engineer", secrets.token_urlsafe())

    @property
    def needs_login(self) -> bool:
        """Whether there are users; without any, everybody on this machine may do everything."""
        return bool(self._users)

    def visitor(self, token: str | None) -> Visitor | None:
        """Return who has the session `token`; None for whoever must log in first."""
        if not self._users:
            return self._local
        with self._lock:
            session = self._sessions.get(token or "")
        return session.visitor if session is not None and session.ends_at > self._clock() else None

    def log_in(self, name: str, password: str, address: str) -> str | None:
        """Return the token of a new session; None for a wrong name or password. Raises TooManyTriesError."""
        keys = f"user {name[:64]}", f"address {address}"
        self._check_rate(keys)
        user = self._users.get(name)
        is_right = verify_password(password, user.password if user is not None else self._nobody)
        if user is None or not is_right:
            return None
        token = secrets.token_urlsafe(32)
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)
            self._drop_old_sessions()
            visitor = Visitor(name, user.role, secrets.token_urlsafe(32))
            self._sessions[token] = _Session(visitor, self._clock() + SESSION_SECONDS)
        return token

    def log_out(self, token: str | None) -> None:
        """End a session."""
        with self._lock:
            self._sessions.pop(token or "", None)

    def _check_rate(self, keys: tuple[str, ...]) -> None:
        """Count a try, which a login that succeeds takes back."""
        now = self._clock()
        with self._lock:
            if len(self._failures) > _MAX_TRACKED:
                self._failures.clear()
            recent = {
                key: [at for at in self._failures.get(key, ()) if now - at < TRY_WINDOW] for key in keys
            }
            if any(len(tries) >= MAX_TRIES for tries in recent.values()):
                raise TooManyTriesError
            for key, tries in recent.items():
                self._failures[key] = [*tries, now]

    def _drop_old_sessions(self) -> None:
        now = self._clock()
        self._sessions = {token: it for token, it in self._sessions.items() if it.ends_at > now}
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
