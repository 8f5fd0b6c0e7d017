"""Versions of program, packages and system, and the machine."""

import os
import platform
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from monitor import __version__
from monitor.tools.doctor.gpu import nvidia_cards, query_nvidia_smi


def versions() -> dict[str, Any]:
    """Return program, Python, packages, system, processor and graphics cards; no environment variables."""
    packages = {found.metadata["Name"]: found.version for found in distributions()}
    return {
        "defect-monitor": __version__,
        "python": {"version": sys.version, "executable": sys.executable},
        "system": {
            "kernel": " ".join(platform.uname()[part] for part in (0, 2, 3, 4)),
            "distribution": _field(Path("/etc/os-release"), "PRETTY_NAME", "=").strip('"'),
        },
        "processor": processor(),
        "memory": _field(Path("/proc/meminfo"), "MemTotal"),
        "graphics": {
            "cards": nvidia_cards(),
            "driver": [
                f"{gpu.name}, {gpu.driver}, {gpu.free} of {gpu.total} MiB free" for gpu in query_nvidia_smi()
            ],
        },
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }


def processor() -> dict[str, Any]:
    """Return the number of processors, their model and their instruction sets."""
    return {
        "count": os.cpu_count(),
        "model": _field(Path("/proc/cpuinfo"), "model name"),
        "flags": _field(Path("/proc/cpuinfo"), "flags"),
    }


def _field(path: Path, name: str, separator: str = ":") -> str:
    """The first value of a name in a system file with one pair per line; empty where there is none."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(separator) for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
