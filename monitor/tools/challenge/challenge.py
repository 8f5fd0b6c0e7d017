"""Show each image of a set of known rejects to a running daemon, and log what it makes of them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from monitor.errors import DataError, printable
from monitor.events.challenge import ChallengeAnswer
from monitor.events.event import format_timestamp
from monitor.learning.datasets.sample import Sample, load_mask
from monitor.learning.evaluate.localisation import mask_boxes
from monitor.redis_streams.challenge import MAX_IMAGE_BYTES
from monitor.tools.challenge.signed_log import LAST, SignedLog

Show = Callable[[str, bytes], ChallengeAnswer]
"""Has the daemon inspect an image file, by its name and content. Raises MonitorError without an answer."""


@dataclass(frozen=True, slots=True)
class ChallengeSummary:
    """What came of a challenge; images are named by their files."""

    rejects: int
    found: int
    missed: tuple[str, ...]
    not_inspected: tuple[str, ...]
    good: int
    false_alarms: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        """Whether every reject was found, and every image was inspected."""
        return self.found == self.rejects and not self.not_inspected


@dataclass(frozen=True, slots=True)
class _Result:
    file: str
    is_reject: bool
    outcome: str


def run_challenge(
    folder: Path, samples: Sequence[Sample], show: Show, log: SignedLog, *, camera: str, author: str
) -> ChallengeSummary:
    """Show `samples`, images of the set in `folder`, as frames of `camera`, and log each and the result.

    Raises MonitorError where the daemon gives no answer; then the log has no end.
    """
    log.append(
        "challenge",
        {
            "version": 1,
            "test": True,
            "set": printable(folder.resolve()),
            "camera": camera,
            "author": author,
            "images": len(samples),
            "started_at": _now(),
        },
    )
    results = []
    for sample in samples:
        file = printable(sample.path.relative_to(folder.resolve()))
        answer, digest, problem = None, None, None
        try:
            content = sample.path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if len(content) > MAX_IMAGE_BYTES:
                problem = f"{len(content)} bytes are more than {MAX_IMAGE_BYTES}"
            else:
                answer = show(file, content)
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
        log.append("image", _record(sample, file, digest, answer, problem))
        results.append(_Result(file, sample.defective, "not-inspected" if answer is None else answer.outcome))
    summary = _summarise(results)
    log.append(LAST, {**asdict(summary), "passed": summary.has_passed, "ended_at": _now()})
    return summary


def _record(
    sample: Sample, file: str, digest: str | None, answer: ChallengeAnswer | None, problem: str | None
) -> dict[str, object]:
    known = (
        {"outcome": "not-inspected", "reason": problem, "inspected_at": _now()}
        if answer is None
        else answer.model_dump(mode="json", exclude={"version", "camera", "width", "height", "regions"})
    )
    return {
        **known,
        "test": True,
        "file": file,
        "sha256": digest,
        "expected": "defect" if sample.defective else "clean",
        "defect_kind": sample.category if sample.defective else None,
        "boxes": [] if answer is None else [[it.x, it.y, it.width, it.height] for it in answer.regions],
        "box_hit": None if answer is None else _is_hit(sample, answer),
    }


def _is_hit(sample: Sample, answer: ChallengeAnswer) -> bool | None:
    """Return whether the centre of a box lies on the defect; None where its place is not known.

    The place of a defect is the smallest box around each piece of its mask.
    """
    if answer.outcome != "defect" or answer.width is None or answer.height is None:
        return None
    try:
        mask = load_mask(sample, answer.height, answer.width) if sample.defective else None
    except DataError:
        return None
    if mask is None:
        return None
    centres = [(it.x + it.width / 2, it.y + it.height / 2) for it in answer.regions]
    return any(
        place.left <= x < place.right and place.top <= y < place.bottom
        for place in mask_boxes(mask)
        for x, y in centres
    )


def _summarise(results: Sequence[_Result]) -> ChallengeSummary:
    rejects = [it for it in results if it.is_reject]
    return ChallengeSummary(
        rejects=len(rejects),
        found=sum(it.outcome == "defect" for it in rejects),
        missed=tuple(it.file for it in rejects if it.outcome == "clean"),
        not_inspected=tuple(it.file for it in results if it.outcome == "not-inspected"),
        good=len(results) - len(rejects),
        false_alarms=tuple(it.file for it in results if not it.is_reject and it.outcome == "defect"),
    )


def _now() -> str:
    return format_timestamp(datetime.now(UTC))
