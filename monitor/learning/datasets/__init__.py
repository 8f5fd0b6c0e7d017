"""Labelled pictures on disk, in the layouts that people have them in."""

from monitor.learning.datasets.audit import DatasetReport, audit
from monitor.learning.datasets.folders import FolderLayout
from monitor.learning.datasets.reader import read_samples
from monitor.learning.datasets.sample import Sample, load_image, load_mask
from monitor.learning.datasets.split import stratified_split

__all__ = [
    "DatasetReport",
    "FolderLayout",
    "Sample",
    "audit",
    "load_image",
    "load_mask",
    "read_samples",
    "stratified_split",
]
