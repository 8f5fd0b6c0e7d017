"""Try settings of a camera against its live picture and its last flagged frames. Pure; writes nothing."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from monitor.capture.image_checks import Measure, QualityLimits, measure, unusable_reason
from monitor.errors import UsageError
from monitor.events.event import Event
from monitor.imaging.geometry import tile_boxes
from monitor.records import Box

Pixels = Annotated[int, Field(ge=0, le=65_535)]
Share = Annotated[float, Field(ge=0, le=1)]


class TriedSettings(BaseModel):
    """What the form of the tuning holds."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    x: Pixels
    y: Pixels
    w: Annotated[int, Field(ge=1, le=65_535)]
    h: Annotated[int, Field(ge=1, le=65_535)]
    rows: Annotated[int, Field(ge=1, le=256)]
    columns: Annotated[int, Field(ge=1, le=256)]
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    threshold: Share | None = None
    minimum_area: Share

    @property
    def roi(self) -> list[int]:
        """The region of interest, [x, y, width, height] in pixels of the camera's frame."""
        return [self.x, self.y, self.w, self.h]

    def tiles(self, width: int, height: int) -> tuple[Box, ...]:
        """Return the tiles in a frame of this size. Raises UsageError where they do not fit."""
        if self.rows * self.columns > 256:
            raise UsageError(f"{self.rows}x{self.columns} tiles are more than 256")
        roi = Box(self.x, self.y, self.x + self.w, self.y + self.h)
        return tile_boxes(width, height, roi=roi, tiles=(self.rows, self.columns), overlap=self.overlap)


def settings_in_force(
    camera: Mapping[str, Any], settings: Mapping[str, Any], size: tuple[int, int], threshold: float | None
) -> TriedSettings:
    """Return what the daemon uses for a camera with frames of `size` (width, height) and this threshold."""
    x, y, width, height = camera.get("roi") or (0, 0, *size)
    rows, columns = camera.get("tiles") or (1, 1)
    return TriedSettings(
        x=x,
        y=y,
        w=width,
        h=height,
        rows=rows,
        columns=columns,
        overlap=camera.get("overlap") or 0.0,
        threshold=threshold,
        minimum_area=settings.get("explain", {}).get("minimum_area", 0.0005),
    )


class SanityResult(NamedTuple):
    """What the sanity checks find: the measures beside their limits, and why a frame would be unusable."""

    measures: tuple[Measure, ...]
    unusable: str | None
    is_reduced: bool


def check_sanity(
    jpeg: bytes, size: tuple[int, int], tried: TriedSettings, limits: Mapping[str, float]
) -> SanityResult | None:
    """Check the tried region in a live frame `jpeg` of a frame of `size` (width, height).

    `is_reduced`: the live frame is smaller than the camera's own, so noise and fine structure are, too.
    None where the JPEG cannot be decoded.
    """
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return None
    scale = image.shape[1] / size[0]
    left, top = int(tried.x * scale), int(tried.y * scale)
    right, bottom = round((tried.x + tried.w) * scale), round((tried.y + tried.h) * scale)
    part = np.asarray(image[top : max(bottom, top + 1), left : max(right, left + 1)], np.uint8)
    if not part.size:
        return None
    given = QualityLimits(**limits)
    return SanityResult(measure(part, given), unusable_reason(part, given), scale < 1)


@dataclass(frozen=True, slots=True)
class TriedEvent:
    """A flagged frame under tried settings: whether it is still flagged, and how many regions stay."""

    entry: str
    event: Event
    is_flagged: bool
    regions: int


def try_on_events(
    events: Iterable[tuple[str, Event]], tried: TriedSettings, in_force: TriedSettings
) -> list[TriedEvent]:
    """Apply threshold and minimum area to flagged frames, given with their entries.

    Regions are those that the daemon found, so only a higher minimum area makes a difference.
    """
    found = []
    for entry, event in events:
        try:
            tile = in_force.tiles(event.image.width, event.image.height)[0]
        except UsageError:  # a frame from before the settings or the camera's size were changed
            tile = Box(0, 0, event.image.width, event.image.height)
        kept = sum(region.area >= tried.minimum_area * tile.area for region in event.regions)
        threshold = event.threshold if tried.threshold is None else tried.threshold
        found.append(TriedEvent(entry, event, event.score >= threshold, kept))
    return found


def to_toml(name: str, tried: TriedSettings, in_force: TriedSettings) -> str:
    """Return the changed keys as TOML to paste into the settings; empty if nothing differs."""
    camera = [
        f"{key} = {json.dumps(value)}"
        for key, value, before in (
            ("roi", tried.roi, in_force.roi),
            ("tiles", [tried.rows, tried.columns], [in_force.rows, in_force.columns]),
            ("overlap", tried.overlap, in_force.overlap),
        )
        if value != before
    ]
    sections = []
    if camera:
        sections.append("\n".join(["[[camera]]", f"name = {json.dumps(name)}", *camera]))
    if tried.threshold is not None and tried.threshold != in_force.threshold:
        sections.append(f"[model]\nthreshold = {tried.threshold:g}")
    if tried.minimum_area != in_force.minimum_area:
        sections.append(f"[explain]\nminimum_area = {tried.minimum_area:.6f}".rstrip("0").rstrip("."))
    return "\n\n".join(sections) + "\n" if sections else ""
