"""Which frames of a stream were decoded from incomplete data, or refer to such frames. Pure."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from monitor.capture.sources.bitstream import AccessUnit

LogLine = tuple[int, str, str]
"""A message of FFmpeg: level, name of the context, text."""

_ERROR = 16
"""FFmpeg's level of an error; lower numbers are worse."""

_HARMLESS = re.compile(
    r"APP fields|\bSEI\b|\bVUI\b|user data|unregistered|timecode|pixel format|colou?r|ICC|Exif", re.IGNORECASE
)
"""Errors of FFmpeg that concern metadata, not pixels."""

_DAMAGE = re.compile(
    r"concealing|invalid undecodable NALU|bytestream overread|EOI missing|overread|Ignoring POC change"
    r"|Could not find ref|non-existing|skipped \d+ bytes",
    re.IGNORECASE,
)
"""Messages of a decoder below the level of an error that nevertheless report missing data."""

_TRANSPORT_LOSS = re.compile(
    r"RTP: missed|jitter buffer full|Continuity check failed|Packet corrupt|PES packet size mismatch"
    r"|Missing packets",
    re.IGNORECASE,
)
"""Messages of a demuxer about data that did not arrive."""

_LOSS_REACH = 2
"""Packets after the one at which a demuxer reports a loss that may lack the data: its parser reads ahead."""

_INTRA_WITHOUT_MARK = 2
"""Intra frames without a random access point after which a stream counts as one that never marks any."""


def decoder_evidence(lines: Iterable[LogLine]) -> str | None:
    """The first message of a decoder that reports incomplete data. Levels and texts are those of FFmpeg."""
    for level, _, text in lines:
        message = " ".join(text.split())
        if level <= _ERROR and not _HARMLESS.search(message):
            return message
        if _DAMAGE.search(message):
            return message
    return None


def transport_evidence(lines: Iterable[LogLine]) -> str | None:
    """The first message of a demuxer that reports data that did not arrive."""
    for _, _, text in lines:
        if _TRANSPORT_LOSS.search(text):
            return " ".join(text.split())
    return None


@dataclass(slots=True)
class DamageTracker:
    """Follows a stream in decoding order and tells which frames are damaged.

    A frame is damaged if there is evidence against it, or if it may refer to a damaged frame. The stream is
    clean again at a random access point (H.264 IDR, H.265 IRAP), after the frames that a recovery point
    announces (intra refresh), or, in a stream that marks neither, at an intra frame. Frames that are decoded
    after an open random access point and shown before it stay damaged.
    """

    _reason: str | None = None
    _leading_reason: str | None = None
    _leading_before: float = float("-inf")
    _recovers_in: int | None = None
    _unmarked_intra: int = 0
    _reference_number: int | None = None
    _loss: str | None = None
    _loss_reach: int = 0
    _slices: dict[bool, deque[int]] = field(
        default_factory=lambda: {intra: deque(maxlen=8) for intra in (False, True)}
    )

    def report_loss(self, reason: str) -> None:
        """Data was lost on the way, in the next packet or shortly after."""
        self._loss, self._loss_reach = reason, 1 + _LOSS_REACH

    def inherit(self, reason: str) -> None:
        """A frame proved damaged only when it came out of the decoder."""
        self._reason = self._reason or f"it refers to a damaged frame: {reason}"

    def track(self, unit: AccessUnit, shown_at: float | None, evidence: str | None) -> str | None:
        """Why the frame of `unit`, the next in decoding order, is damaged; None if it is whole.

        `shown_at`: its presentation time; `evidence`: what speaks against this frame itself.
        """
        # Each check keeps a state, so none may be skipped.
        found = [self._check_frame_number(unit), self._check_slices(unit), self._pop_loss()]
        evidence = next(filter(None, [evidence, *found]), None)
        if not unit.is_complete:
            evidence = evidence or "a part of the packet is missing"
        if self._is_leading(unit, shown_at):
            return evidence or self._leading_reason
        self._start_clean(unit, shown_at)
        if evidence is None:
            return self._continue()
        if not unit.is_reference:
            return evidence
        self._reason = f"it refers to a damaged frame: {evidence}"
        self._recovers_in = None
        return evidence

    def _continue(self) -> str | None:
        """The inherited damage of a frame that is itself whole."""
        if self._recovers_in is not None:
            if self._recovers_in == 0:
                self._reason = self._recovers_in = None
            else:
                self._recovers_in -= 1
        return self._reason

    def _start_clean(self, unit: AccessUnit, shown_at: float | None) -> None:
        if unit.is_random_access:
            self._unmarked_intra = 0
        elif unit.is_intra:
            self._unmarked_intra += 1
        if unit.recovery_frames:
            self._unmarked_intra = 0
            if self._reason is not None and self._recovers_in is None:
                self._recovers_in = unit.recovery_frames
        if unit.is_random_access or (unit.is_intra and self._unmarked_intra >= _INTRA_WITHOUT_MARK):
            self._leading_reason = None if unit.is_idr else self._reason
            self._leading_before = float("-inf") if shown_at is None else shown_at
            self._reason = self._recovers_in = None

    def _is_leading(self, unit: AccessUnit, shown_at: float | None) -> bool:
        if unit.is_random_access:
            return False
        if self._leading_reason is None:
            return unit.is_leading
        return unit.is_leading or (shown_at is not None and shown_at < self._leading_before)

    def _check_frame_number(self, unit: AccessUnit) -> str | None:
        """A gap after the number of the latest reference frame of H.264 (7.4.3)."""
        number, before = unit.frame_number, self._reference_number
        if number is None:
            return None
        if unit.is_reference:
            self._reference_number = number
        if unit.is_idr or before is None or number in (before, (before + 1) % unit.frame_numbers):
            return None
        return f"a reference frame is missing between the frames numbered {before} and {number}"

    def _check_slices(self, unit: AccessUnit) -> str | None:
        """Fewer slices than the frames before, where these had one number of them."""
        if unit.slices == 0:
            return None
        latest = self._slices[unit.is_intra]
        usual = latest[0] if len(latest) == latest.maxlen and len(set(latest)) == 1 else 0
        latest.append(unit.slices)
        return f"{unit.slices} of {usual} slices arrived" if unit.slices < usual else None

    def _pop_loss(self) -> str | None:
        if self._loss_reach == 0:
            return None
        self._loss_reach -= 1
        return self._loss
