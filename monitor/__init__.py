"""defect-monitor: which frame shows a surface defect, and where."""

__version__ = "0.1.0"
