"""The simulated line as a source."""

from monitor.capture.address import Simulation
from monitor.errors import SourceError, UsageError
from monitor.records import Image
from monitor.simulate.surface import SurfaceLine


class SimulatedLine:
    """Pictures 0, 1, 2 … of a simulated line, without end. Raises SourceError (`invalid`) for bad options."""

    live = True
    position = None

    def __init__(self, options: Simulation, *, interval: float) -> None:
        self.interval = interval
        self._next = 0
        try:
            self._line = SurfaceLine(options.seed, options.width, options.height, options.defect_rate)
        except UsageError as error:
            raise SourceError("invalid", f"simulate: {error}") from error

    def read(self) -> Image | None:
        """The next picture."""
        self._next += 1
        return self._line.picture(self._next - 1)

    def close(self) -> None:
        """Nothing is held open."""
