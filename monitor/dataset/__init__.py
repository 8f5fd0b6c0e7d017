"""Labelled pictures on disk, in the layouts that people have them in."""

from monitor.dataset.find import read_samples
from monitor.dataset.folders import FolderLayout
from monitor.dataset.inspection import Inspection, inspect
from monitor.dataset.sample import Sample, mask_of, picture_of
from monitor.dataset.split import stratified_split

__all__ = [
    "FolderLayout",
    "Inspection",
    "Sample",
    "inspect",
    "mask_of",
    "picture_of",
    "read_samples",
    "stratified_split",
]
