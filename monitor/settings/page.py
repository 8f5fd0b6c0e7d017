"""Define the settings of the operator's page, and of the live frames that it shows."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from monitor.settings.base import Name, SettingsTable


class UserSettings(SettingsTable):
    """A user of the page."""

    password: SecretStr
    """Hash of the password, which `defect-monitor page passwd` prints. `${NAME}` keeps it out of the file."""
    role: Literal["viewer", "operator", "engineer"] = "viewer"
    """`viewer` (default) sees the line and its events, `operator` also labels, exports and asks why,
    `engineer` also sees the settings."""

    @field_validator("password")
    @classmethod
    def _is_hash(cls, password: SecretStr) -> SecretStr:
        if not password.get_secret_value().startswith("scrypt$"):
            raise ValueError("this is no hash: `defect-monitor page passwd` makes one of a password")
        return password


class PageSettings(SettingsTable):
    """The operator's page, `defect-monitor page`."""

    users: dict[Name, UserSettings] = Field(default={})
    """Users by name, each with `password` and `role`. Without users the page answers on this machine only."""
    redis_username: str | None = None
    """ACL user of the page. Default: as in `[redis]`; deploy/redis/page.acl has one that reads and
    adds labels."""
    redis_password: SecretStr | None = None
    """Password of that user; prefer `${NAME}` to plain text."""


class PreviewSettings(SettingsTable):
    """Live frames for the operator's page, stored in Redis while somebody watches."""

    rate: Annotated[float, Field(ge=0, le=30)] = 2.0
    """Maximum number of frames per second of each camera (default 2). 0: no live frames."""
    side: Annotated[int, Field(ge=64, le=4096)] = 640
    """Pixels of the longer side of a live frame (default 640); larger frames are reduced to it."""
