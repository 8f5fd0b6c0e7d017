"""One TOML file of settings, read once, every mistake said with its place."""

from monitor.settings.model import CameraSettings, Settings
from monitor.settings.reading import parse_settings, read_settings
from monitor.settings.secrecy import without_secrets

__all__ = ["CameraSettings", "Settings", "parse_settings", "read_settings", "without_secrets"]
