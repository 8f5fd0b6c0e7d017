"""Define the base class of settings tables and the types of common values."""

from typing import Annotated, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from monitor.capture.sources.address import parse_address
from monitor.errors import SourceError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


Share = Annotated[float, Field(ge=0, le=1)]


Seconds = Annotated[float, Field(gt=0, le=86400 * 366)]


def _validate_source(source: str) -> str:
    try:
        parse_address(source)
    except SourceError as error:
        raise ValueError(str(error)) from None
    return source


class _CameraTable(Protocol):
    @property
    def name(self) -> str: ...


_Camera = TypeVar("_Camera", bound=_CameraTable)


def validate_names_differ(cameras: tuple[_Camera, ...]) -> tuple[_Camera, ...]:
    """Return the tables of cameras; raises the error `name_twice` where two have the same name."""
    names = [camera.name for camera in cameras]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise PydanticCustomError(
                "name_twice", "another camera is named '{name}' already", {"name": name, "index": index}
            )
    return cameras


class SettingsTable(BaseModel):
    """A table of the file: unknown keys are rejected, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
