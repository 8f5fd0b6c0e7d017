"""What people answer about frames: the document of the stream of labels, and which answers count.

Labels are never changed. An author corrects an answer by another label and undoes one by an entry that
withdraws it. Several authors may answer about one frame; all their answers are kept.
"""

import base64
import binascii
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from monitor.events.event import ID_PATTERN, Count, Document, Timestamp

Answer = Literal["defect", "good", "unsure"]
"""What a person sees on a frame."""

MAX_MASK_CHARACTERS = 400_000
"""Length of a mask in base64: 300 kB of PNG, more than the outline of any defect needs."""

_RESERVED_KINDS = {"good", "masks", "ground_truth", "train", "test", "manifest.json"}
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"


def _check_kind(kind: str) -> str:
    if kind.casefold() in _RESERVED_KINDS:
        raise ValueError(f"{kind!r} has another meaning in a folder of images: name the kind otherwise")
    return kind


def _check_mask(mask: str) -> str:
    png_size(mask)
    return mask


DefectKind = Annotated[
    str,
    Field(
        pattern=r"^[^\s./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,63}$",
        description="kind of defect, fit for the name of a folder",
    ),
    AfterValidator(_check_kind),
]


class LabelSubject(Document):
    """The frame that a label is about, by the id of its event or sample; both are the same id."""

    kind: Literal["event", "sample"]
    id: Annotated[str, Field(pattern=ID_PATTERN, max_length=200)]


class LabelBox(Document):
    """A box around a defect, in pixels of the camera's own frame."""

    x: Annotated[Count, Field(description="left edge, included")]
    y: Annotated[Count, Field(description="top edge, included")]
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]


class Label(Document):
    """A person's answer about one frame, or the withdrawal of an earlier label."""

    version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", description="a UUID")]
    subject: LabelSubject
    camera: Annotated[str, Field(min_length=1)]
    answer: Annotated[Answer | None, Field(description="null: the entry withdraws a label")] = None
    defect_kind: DefectKind | None = None
    boxes: Annotated[tuple[LabelBox, ...], Field(max_length=100)] = ()
    mask_png: Annotated[
        Annotated[str, Field(max_length=MAX_MASK_CHARACTERS), AfterValidator(_check_mask)] | None,
        Field(description="PNG file in base64, of the frame's size: not 0 where the defect is"),
    ] = None
    author: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
    labelled_at: Timestamp
    model_sha256: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{64}$", description="the model whose verdict was labelled")
    ] = None
    withdraws: Annotated[
        str | None, Field(description="id of an earlier label of the same author and frame")
    ] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.answer is None) == (self.withdraws is None):
            raise ValueError("a label either has an answer or withdraws an earlier label")
        if self.answer != "defect" and (self.defect_kind or self.boxes or self.mask_png):
            raise ValueError("kind, boxes and mask belong to the answer `defect` only")
        return self

    def to_json(self) -> str:
        """The document as one line of JSON."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a document; raises pydantic's ValidationError, a ValueError, if it is not one of version 1."""
        return cls.model_validate_json(text)

    def check_fits(self, width: int, height: int) -> None:
        """Raise ValueError unless boxes and mask fit a frame of this size in pixels."""
        for box in self.boxes:
            if box.x + box.width > width or box.y + box.height > height:
                raise ValueError(
                    f"the box {box.x},{box.y},{box.width},{box.height} reaches beyond the frame, "
                    f"which is {width} x {height} pixels"
                )
        if self.mask_png is not None and (size := png_size(self.mask_png)) != (width, height):
            raise ValueError(
                f"the mask is {size[0]} x {size[1]} pixels, the frame {width} x {height}: "
                "a mask has the frame's size"
            )


def png_size(encoded: str) -> tuple[int, int]:
    """Return width and height of a PNG file in base64, by its header. Raises ValueError for another text."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the mask is not base64 text") from None
    if not data.startswith(_PNG) or len(data) < len(_PNG) + 8:
        raise ValueError("the mask is not a PNG file")
    width, height = struct.unpack_from(">II", data, len(_PNG))
    return width, height


def standing_labels(labels: Iterable[Label]) -> dict[str, tuple[Label, ...]]:
    """Return the labels that count, by the id of their frame: of each author the last one not withdrawn.

    The last is that of the latest `labelled_at`, whatever the order of `labels`. A withdrawal counts only
    from the author of the label. The labels of a frame are in the order of their times.
    """
    ordered = sorted({label.id: label for label in labels}.values(), key=lambda it: (it.labelled_at, it.id))
    withdrawn = {(it.withdraws, it.author) for it in ordered}
    last: dict[tuple[str, str], Label] = {}
    for label in ordered:
        if label.answer is not None and (label.id, label.author) not in withdrawn:
            key = label.subject.id, label.author
            last.pop(key, None)
            last[key] = label
    frames: defaultdict[str, list[Label]] = defaultdict(list)
    for label in last.values():
        frames[label.subject.id].append(label)
    return {frame: tuple(its) for frame, its in frames.items()}


def joint_answer(labels: Sequence[Label]) -> Literal["defect", "good", "unsure", "disputed"] | None:
    """Return the answer of all authors of one frame; `unsure` yields to any other, None: nobody answered.

    `labels` are those that count, see `standing_labels`.
    """
    answers = {label.answer for label in labels} - {None}
    certain = answers - {"unsure"}
    if len(certain) > 1:
        return "disputed"
    return next(iter(certain or answers), None)
