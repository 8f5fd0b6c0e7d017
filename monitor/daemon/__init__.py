"""A running daemon: the line of cameras, the judge and the reporter, and delivery."""

from monitor.daemon.daemon import Daemon

__all__ = ["Daemon"]
