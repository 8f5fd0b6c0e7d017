"""NVIDIA's graphics cards, as the machine and their driver report them."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DISPLAY_OR_COMPUTE = "0x03"  # PCI class of graphics cards


_NVIDIA = "0x10de"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver reports it; memory in MiB."""

    name: str
    driver: str
    total: int
    free: int


def nvidia_cards(bus: Path = Path("/sys/bus/pci/devices")) -> int:
    """Count the NVIDIA graphics cards of this machine, with or without a driver."""
    found = 0
    for card in bus.glob("*") if bus.is_dir() else ():
        vendor, kind = ((card / name).read_text().strip() for name in ("vendor", "class"))
        found += vendor == _NVIDIA and kind.startswith(_DISPLAY_OR_COMPUTE)
    return found


def query_nvidia_smi(program: str = "nvidia-smi") -> list[Gpu]:
    """Return the GPUs of NVIDIA's driver, by its own program; empty where that is missing or fails.

    Written from the program's documentation; not tested with a GPU.
    """
    found = shutil.which(program)
    if found is None:
        return []
    query = ["--query-gpu=name,driver_version,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run([found, *query], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 (our own arguments)
        rows = [
            [part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.strip()
        ]
        return [Gpu(name, driver, int(total), int(free)) for name, driver, total, free in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
