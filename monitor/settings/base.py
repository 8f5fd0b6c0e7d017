"""Define the base class of settings tables and the types of common values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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


class SettingsTable(BaseModel):
    """A table of the file: unknown keys are rejected, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
