"""A look at the data before anything is learnt from them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import DataError
from monitor.learning.datasets.sample import Sample, load_image, load_mask


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What was found.

    `counts` by (surface, split, kind); `sizes` by (width, height). `unreadable`: a sentence for each picture
    or mask that cannot be used. `duplicates`: groups of samples with the same pixels, in the order given.
    """

    counts: dict[tuple[str, str, str], int]
    sizes: dict[tuple[int, int], int]
    unreadable: tuple[str, ...]
    duplicates: tuple[tuple[Sample, ...], ...]
    defective: int
    total: int

    @property
    def good_per_defect(self) -> float:
        """How many good pictures there are for each defective one."""
        return (self.total - self.defective) / max(self.defective, 1)

    @property
    def duplicates_to_skip(self) -> frozenset[Path]:
        """Pictures to leave out of training so that each is seen once, and none that is also in `Test`."""
        out: set[Path] = set()
        for group in self.duplicates:
            kept = next((sample for sample in group if sample.split == "Test"), group[0])
            out.update(sample.path for sample in group if sample is not kept and sample.split != "Test")
        return frozenset(out)

    def raise_if_unusable(self) -> None:
        """Raise `DataError` for a picture that cannot be read, or one labelled both good and defective."""
        if self.unreadable:
            others = f" (and {len(self.unreadable) - 1} more)" if len(self.unreadable) > 1 else ""
            raise DataError(f"{self.unreadable[0]}{others}")
        for group in self.duplicates:
            if len({sample.defective for sample in group}) > 1:
                names = " and ".join(str(sample.path) for sample in group)
                raise DataError(f"the same picture is labelled both good and defective: {names}")

    def lines(self) -> list[str]:
        """The findings as sentences for people."""
        found = [
            f"{surface} {split}: "
            + ", ".join(
                f"{count} {kind}" for (a, b, kind), count in self.counts.items() if (a, b) == (surface, split)
            )
            for surface, split in dict.fromkeys(key[:2] for key in self.counts)
        ]
        sizes = ", ".join(
            f"{width}x{height} ({count})" for (width, height), count in Counter(self.sizes).most_common(3)
        )
        more = f" and {len(self.sizes) - 3} other sizes" if len(self.sizes) > 3 else ""
        found.append(f"sizes: {sizes}{more}; {self.good_per_defect:.1f} good pictures for each defective one")
        found += self.unreadable
        for group in self.duplicates:
            across = " in both Train and Test" if len({sample.split for sample in group}) > 1 else ""
            found.append(f"the same picture{across}: " + ", ".join(str(sample.path) for sample in group))
        return found


def audit(samples: Sequence[Sample], advance: Callable[[], None] = lambda: None) -> DatasetReport:
    """Read every picture and mask of `samples` once and say what is there; `advance` is called after each."""
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable: list[str] = []
    by_content: dict[bytes, list[Sample]] = defaultdict(list)
    for sample in samples:
        try:
            picture = load_image(sample)
            height, width = picture.shape[:2]
            sizes[width, height] += 1
            content = hashlib.sha256(f"{width}x{height}".encode() + picture.tobytes())
            by_content[content.digest()].append(sample)
            load_mask(sample, height, width)
        except DataError as error:
            unreadable.append(str(error))
        advance()
    return DatasetReport(
        counts=dict(Counter((sample.surface, sample.split or "", sample.category) for sample in samples)),
        sizes=dict(sizes),
        unreadable=tuple(unreadable),
        duplicates=tuple(tuple(group) for group in by_content.values() if len(group) > 1),
        defective=sum(sample.defective for sample in samples),
        total=len(samples),
    )
