"""The daemon's identity: random, stored beside the outbox, the same after a restart."""

import logging
import re
import secrets
import socket
from pathlib import Path

from monitor.events.event import safe_name

logger = logging.getLogger(__name__)


_MACHINE_ID = Path("/etc/machine-id")


_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def daemon_identity(outbox: Path | None, *, machine_id: Path = _MACHINE_ID) -> str:
    """Return `<host>-<8 hex digits>`, stored in the file `<outbox>.identity`.

    A stored identity that another machine made, as on a cloned disk with a new machine-id, is replaced.
    A container keeps its identity with its volume. Without an outbox, or where the file can be neither read
    nor written, the identity is that of this run only.
    """
    new = f"{safe_name(socket.gethostname())}-{secrets.token_hex(4)}"
    if outbox is None:
        logger.info("daemon identity valid for this run only: no outbox file to store it beside")
        return new
    path = outbox.with_name(outbox.name + ".identity")
    machine = "" if any(mark.exists() for mark in _CONTAINER_MARKS) else _read(machine_id)
    stored, _, made_on = _read(path).partition(" ")
    if re.fullmatch(r"[A-Za-z0-9._~-]{1,200}", stored) and (not made_on or not machine or made_on == machine):
        return stored
    if stored:
        logger.warning("stored daemon identity replaced: another machine made it", extra={"identity": stored})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_text(f"{new} {machine}".rstrip() + "\n", encoding="ascii")
        temporary.replace(path)
    except OSError as error:
        logger.warning(
            "daemon identity valid for this run only: it cannot be stored", extra={"error": str(error)}
        )
    return new


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
