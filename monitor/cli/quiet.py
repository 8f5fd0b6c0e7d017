"""What commands that cannot do without TensorFlow call first."""

from monitor.classify.quiet import import_tensorflow

__all__ = ["import_tensorflow"]
