"""defect-monitor: which frame shows a surface defect, and where.

The public API, loaded when first asked for, so that importing the package costs nothing. Explanations of any
Keras classifier are in `monitor.explain`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitor.events.event import Event
    from monitor.models.bundle import load_bundle
    from monitor.redis_streams.subscriber import Subscriber

__version__ = "0.1.0"
__all__ = ["Event", "Subscriber", "__version__", "load_bundle"]

_HOMES = {
    "Event": "monitor.events.event",
    "Subscriber": "monitor.redis_streams.subscriber",
    "load_bundle": "monitor.models.bundle",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
