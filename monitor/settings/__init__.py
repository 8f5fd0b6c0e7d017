"""Settings: one TOML file, read once, every mistake reported with its place."""

from monitor.settings.camera import CameraSettings
from monitor.settings.loader import load_settings, parse_settings
from monitor.settings.schema import Settings
from monitor.settings.secrecy import redacted

__all__ = ["CameraSettings", "Settings", "load_settings", "parse_settings", "redacted"]
