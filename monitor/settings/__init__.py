"""Read the settings from one TOML file and report every mistake with its location."""

from monitor.settings.camera import CameraSettings
from monitor.settings.loader import load_recipe, load_settings, parse_settings
from monitor.settings.schema import Settings
from monitor.settings.secrecy import redacted

__all__ = ["CameraSettings", "Settings", "load_recipe", "load_settings", "parse_settings", "redacted"]
