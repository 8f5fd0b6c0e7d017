"""Which image is which, by its pixels: names and encodings change, pixels do not."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from monitor.errors import UsageError
from monitor.learning.datasets.near_duplicates import Thumbnail, near_duplicates
from monitor.learning.datasets.sample import Sample, load_image
from monitor.records import Image

DIGITS = 16
"""Hexadecimal digits of a hash: 64 bits, unique among millions of images."""


def pixel_hash(image: Image) -> str:
    """Return the SHA-256 of the pixels of `image` (h, w, 3) uint8, whatever its encoding without loss."""
    height, width = image.shape[:2]
    return hashlib.sha256(f"{width}x{height}".encode() + image.tobytes()).hexdigest()


def image_hash(image: Image) -> str:
    """Return the first `DIGITS` digits of `pixel_hash`."""
    return pixel_hash(image)[:DIGITS]


def image_hashes(samples: Sequence[Sample]) -> list[str]:
    """Return the hash of the whole image of each sample; raises `DataError` where one cannot be read."""
    return [image_hash(load_image(sample)) for sample in samples]


def group_keys(
    samples: Sequence[Sample],
    hashes: Sequence[str],
    pattern: str | None = None,
    thumbnails: Sequence[Thumbnail] = (),
) -> list[str]:
    """Return what each sample is divided by: its group, its hash, or what `pattern` finds in its file name.

    `pattern` is a regular expression for a part or a lot: its first group, or all that it matches. Images of
    one group stay together. A name without a match is a group of its own. Groups that share nearly the same
    image, by `thumbnails` (n), are one.
    """
    keys = list(hashes) if pattern is None else _matches(samples, hashes, pattern)
    keys = [sample.group or key for sample, key in zip(samples, keys, strict=True)]
    for alike in near_duplicates(thumbnails):
        joined = {keys[index] for index in alike}
        keys = [min(joined) if key in joined else key for key in keys]
    return keys


def _matches(samples: Sequence[Sample], hashes: Sequence[str], pattern: str) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group {pattern!r} is not a regular expression: {error}") from error
    keys = []
    for sample, own in zip(samples, hashes, strict=True):
        match = compiled.search(sample.path.name)
        keys.append(own if match is None else match.group(1 if compiled.groups else 0) or own)
    return keys


def position(key: str, seed: int | str) -> float:
    """Return where `key` lies in 0..1, evenly spread over all keys and different for each `seed`."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return float(np.frombuffer(digest[:8], ">u8")[0] / 2**64)
