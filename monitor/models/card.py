"""A model's card: all that is needed to run it, assess it and train it again."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitor.errors import ModelError

CARD_NAME = "card.json"


CARD_FORMAT = 4
"""The highest known: that of a card with `screening`. One with `memory` has 3, with `box_head` alone 2, any
other 1."""


Share = Annotated[float, Field(ge=0, le=1)]


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class _CardSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preprocessing(_CardSection):
    """How a uint8 image becomes the network's input: `(value * scale - mean) / deviation`."""

    resize: Literal["area"] = Field(
        default="area", description="how a larger image is shrunk to the input's size"
    )
    channel_order: Literal["bgr", "rgb"] = Field(description="the order that `mean` and the network expect")
    scale: float = Field(default=1.0, gt=0, description="multiplied first")
    mean: tuple[float, float, float] = Field(description="subtracted after scaling, per channel")
    deviation: tuple[float, float, float] = Field(
        default=(1.0, 1.0, 1.0), description="divided by last, per channel"
    )


class RegionDefaults(_CardSection):
    """How heat becomes regions unless the settings override it: what measured best for this model."""

    scoring: Literal["seed", "paper", "article"] = "seed"
    max_n: int = Field(default=10, ge=1, description="how many maps are scored")
    threshold: Share = Field(
        default=0.5, description="heat from which a pixel belongs to a region, as a fraction of the peak"
    )


class TrainingInfo(_CardSection):
    """What the model was trained on, and the command that repeats it."""

    command: str
    recipe: str
    init: str = Field(description="where the weights came from at the start")
    seed: int
    data: tuple[str, ...] = Field(description="each class of images: where from and how many")
    epochs: int
    kept_epoch: int = Field(description="the epoch, counted from 1, whose weights these are")
    versions: dict[str, str] = Field(description="of the packages that decide the result")
    roi: tuple[int, int, int, int] | None = Field(
        default=None, description="part of the frame that was trained on: x, y, width, height in pixels"
    )
    tiles: tuple[int, int] = Field(default=(1, 1), description="rows and columns of tiles in that part")
    overlap: float = Field(default=0.0, ge=0, le=0.5, description="fraction of a tile shared with the next")
    trained: tuple[str, ...] = Field(default=(), description="hashes of the images that weights come from")
    validated: tuple[str, ...] = Field(
        default=(), description="hashes of the images that the threshold comes from"
    )


class BundleFile(_CardSection):
    """A file of the bundle, and its hash."""

    file: FileName
    sha256: Sha256


class ReferenceFile(BundleFile):
    """An image of the network's own size, and its score in single precision."""

    score: Share


class ModelCard(_CardSection):
    """The card, format 1 to 4."""

    format: Literal[1, 2, 3, 4] = 1
    name: str = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2, description="in the order of the network's outputs")
    defect_class: int = Field(
        ge=0, description="index in `classes` of the one whose score is compared with the threshold"
    )
    input_height: int = Field(gt=0)
    input_width: int = Field(gt=0)
    preprocessing: Preprocessing
    cam_layer: str = Field(description="the layer that is explained")
    cell_offset: tuple[float, float] = Field(
        description="(x, y) of the input pixel at which cell (0, 0) of `cam_layer` lies"
    )
    threshold: Share = Field(description="the score from which an image counts as defective")
    threshold_origin: str = Field(description="how the threshold was set")
    localisation: RegionDefaults = RegionDefaults()
    training: TrainingInfo
    figures: dict[str, float] = Field(description="what was measured, by name")
    model: BundleFile
    familiarity: BundleFile | None = None
    box_head: BundleFile | None = Field(
        default=None, description="predicts the extents of a defect; without it boxes come from heat alone"
    )
    kinds: BundleFile | None = Field(default=None, description="by which flagged images get a kind's name")
    memory: BundleFile | None = Field(
        default=None, description="features of frames that it was trained on, for a later training"
    )
    screening: BundleFile | None = Field(
        default=None, description="an early exit, by which the first layers answer for clearly good inputs"
    )
    references: tuple[ReferenceFile, ...] = Field(
        default=(), description="by which a machine's arithmetic is checked before it is trusted"
    )

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.input_height, self.input_width


def read_card(folder: Path) -> ModelCard:
    """Read and check the card of the bundle in `folder`; raises `ModelError`."""
    path = folder / CARD_NAME
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"no model at {folder}: {path} does not exist") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"the model's card {path} cannot be read: {error}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if isinstance(version, int) and version > CARD_FORMAT:
        raise ModelError(
            f"the model at {folder} is of format {version}, this program knows formats up to {CARD_FORMAT}: "
            "install a newer defect-monitor"
        )
    try:
        card = ModelCard.model_validate_json(json.dumps(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise ModelError(f"the model's card {path} is not valid: {place}: {first['msg']}") from error
    if card.defect_class >= len(card.classes):
        raise ModelError(f"the model's card {path} is not valid: defect_class names none of the classes")
    return card


def write_card(card: ModelCard) -> str:
    """The card as the text of its file."""
    return card.model_dump_json(indent=2) + "\n"
