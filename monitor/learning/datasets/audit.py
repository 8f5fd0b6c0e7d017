"""Check the data before anything is learnt from them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.errors import DataError, printable
from monitor.imaging.folders import summarise_paths
from monitor.imaging.pages import page_numbers
from monitor.learning.datasets.near_duplicates import Thumbnail, near_duplicates, thumbnail
from monitor.learning.datasets.sample import Sample, load_image, load_mask


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What the data hold.

    `counts` by (surface, split, kind); `sizes` by (width, height). `unreadable`: a sentence for each image
    or mask that cannot be used. `duplicates`: groups of samples with the same pixels, in the order given;
    `near_duplicates`: groups that show nearly the same.
    Of the defective images, `with_place` have a mask or ellipse, `empty_masks` one that marks nothing, and
    `large_masks` one that marks more than half of the image; `two_levels` are images of at most two grey
    levels, which masks have and photographs do not. Of `several_pages` only the first is used.
    """

    counts: dict[tuple[str, str, str], int]
    sizes: dict[tuple[int, int], int]
    unreadable: tuple[str, ...]
    duplicates: tuple[tuple[Sample, ...], ...]
    defective: int
    total: int
    with_place: int = 0
    empty_masks: tuple[Path, ...] = ()
    large_masks: tuple[Path, ...] = ()
    two_levels: tuple[Path, ...] = ()
    several_pages: tuple[Path, ...] = ()
    near_duplicates: tuple[tuple[Sample, ...], ...] = ()

    @property
    def good_per_defect(self) -> float:
        """Good images for each defective one."""
        return (self.total - self.defective) / max(self.defective, 1)

    @property
    def duplicates_to_skip(self) -> frozenset[Path]:
        """Images to leave out of training so that each is seen once, and none that is also in `Test`."""
        out: set[Path] = set()
        for group in self.duplicates:
            first = next((sample for sample in group if sample.split == "Test"), group[0])
            out.update(sample.path for sample in group if sample is not first and sample.split != "Test")
        return frozenset(out)

    def raise_if_unusable(self) -> None:
        """Raise `DataError` for an image that cannot be read, or one labelled both good and defective."""
        if self.unreadable:
            others = f" (and {len(self.unreadable) - 1} more)" if len(self.unreadable) > 1 else ""
            raise DataError(f"{self.unreadable[0]}{others}")
        for group in self.duplicates:
            if len({sample.defective for sample in group}) > 1:
                names = " and ".join(str(sample.path) for sample in group)
                raise DataError(f"the same image is labelled both good and defective: {names}")

    def lines(self) -> list[str]:
        """Return the findings as sentences for people."""
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
        found.append(f"sizes: {sizes}{more}; {self.good_per_defect:.1f} good images for each defective one")
        found += self._place_lines()
        found += [printable(sentence) for sentence in self.unreadable]
        for group in self.duplicates:
            across = " in both Train and Test" if len({sample.split for sample in group}) > 1 else ""
            names = ", ".join(printable(sample.path) for sample in group)
            found.append(f"the same image{across}: {names}")
        return found + self._near_duplicate_lines()

    def _near_duplicate_lines(self) -> list[str]:
        found = []
        if self.near_duplicates:
            images = [sample.path for group in self.near_duplicates for sample in group]
            found.append(
                f"{summarise_paths(images, 'images nearly repeat another')}; "
                f"each of {len(self.near_duplicates)} groups stays on one side of a split"
            )
        mixed = [group for group in self.near_duplicates if len({one.defective for one in group}) > 1]
        if mixed:
            names = " and ".join(printable(one.path) for one in mixed[0])
            found.append(f"{len(mixed)} of these groups are labelled both good and defective: check {names}")
        across = sum({one.split for one in group} == {"Train", "Test"} for group in self.near_duplicates)
        if across:
            found.append(f"warning: {across} of these groups lie in both Train and Test")
        return found

    def _place_lines(self) -> list[str]:
        """Return what is known of the places of defects, and which masks and images are suspicious."""
        found = []
        if self.defective:
            found.append(f"defective images whose place is known: {self.with_place} of {self.defective}")
        if self.empty_masks:
            found.append(
                f"{summarise_paths(self.empty_masks, 'masks mark nothing')}; "
                "their images count as defective at an unknown place"
            )
        if self.large_masks:
            found.append(
                f"{summarise_paths(self.large_masks, 'masks mark more than half of their image')}; "
                "a mask marks the defect in white"
            )
        if self.two_levels:
            found.append(
                f"{summarise_paths(self.two_levels, 'images have two grey levels at most')}; "
                "if they are masks, see --mask-suffix"
            )
        if self.several_pages:
            found.append(
                f"{summarise_paths(self.several_pages, 'files have several pages')}; the first is used"
            )
        return found


def audit(samples: Sequence[Sample], advance: Callable[[], None] = lambda: None) -> DatasetReport:
    """Read every image and mask of `samples` once and report; `advance` is called after each."""
    sizes: Counter[tuple[int, int]] = Counter()
    unreadable: list[str] = []
    by_content: dict[bytes, list[Sample]] = defaultdict(list)
    readable: list[Sample] = []
    thumbnails: list[Thumbnail] = []
    with_place = 0
    empty, large, two_levels = [], [], []
    for sample in samples:
        try:
            image = load_image(sample)
            height, width = image.shape[:2]
            sizes[width, height] += 1
            content = hashlib.sha256(f"{width}x{height}".encode() + image.tobytes())
            by_content[content.digest()].append(sample)
            if len(by_content[content.digest()]) == 1:
                readable.append(sample)
                thumbnails.append(thumbnail(image))
            if np.count_nonzero(np.bincount(image[..., 1].ravel(), minlength=256)) <= 2:
                two_levels.append(sample.path)
            mask = load_mask(sample, height, width)
            if sample.defective and mask is not None:
                with_place += 1
                if mask.mean() > 0.5:
                    large.append(_mask_path(sample))
            elif sample.defective and sample.mask is not None:
                empty.append(_mask_path(sample))
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
        with_place=with_place,
        empty_masks=tuple(empty),
        large_masks=tuple(large),
        two_levels=tuple(two_levels),
        near_duplicates=tuple(
            tuple(readable[index] for index in group) for group in near_duplicates(thumbnails)
        ),
        several_pages=tuple(sample.path for sample in samples if len(page_numbers(sample.path)) > 1),
    )


def _mask_path(sample: Sample) -> Path:
    """Return the mask's file, or the image whose label is an ellipse."""
    return sample.mask if isinstance(sample.mask, Path) else sample.path
