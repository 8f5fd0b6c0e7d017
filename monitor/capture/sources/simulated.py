"""The simulated line as a source."""

from monitor.capture.sources.address import SimulationOptions
from monitor.errors import SourceError, UsageError
from monitor.records import Image
from monitor.simulate.surface import SurfaceGenerator


class SimulatedSource:
    """Frames 0, 1, 2 … of a simulated line, without end. Raises SourceError (`invalid`) for bad options."""

    live = True
    source_time = None
    stream_time = None

    def __init__(self, options: SimulationOptions, *, interval: float) -> None:
        self.frame_interval = interval
        self._next = 0
        try:
            self._line = SurfaceGenerator(options.seed, options.width, options.height, options.defect_rate)
        except UsageError as error:
            raise SourceError("invalid", f"simulate: {error}") from error

    def read(self) -> Image | None:
        """Return the next frame."""
        self._next += 1
        return self._line.picture(self._next - 1)

    def close(self) -> None:
        """Do nothing: no resource is open."""
