"""The settings: every key with its default, its description and its check, in one place.

Only the composition root reads these; plain values go inward from there.
"""

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
    """A table of the file: unknown keys are refused, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
