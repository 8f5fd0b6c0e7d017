"""Who asks: the visitor of a request and what the role permits."""

from typing import Literal, NamedTuple, get_args

Role = Literal["viewer", "operator", "engineer"]
"""A viewer looks, an operator also labels, exports and asks why, an engineer also sees settings."""

ROLES: tuple[Role, ...] = get_args(Role)


class Visitor(NamedTuple):
    """The user of a request; `name` is None on a loopback page without users."""

    name: str | None
    role: Role
    csrf_token: str

    def may(self, role: Role) -> bool:
        """Whether the visitor's role includes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)
