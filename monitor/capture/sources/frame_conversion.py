"""From what FFmpeg decodes to the image that a player shows: upright, 8 bits, blue, green, red."""

import struct
from collections.abc import Iterator

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

from monitor.imaging.bit_depth import scale_to_8_bits
from monitor.records import Image


def to_image(frame: VideoFrame, bit_depth: int | None) -> Image:
    """Return a decoded frame as (height, width, 3) uint8, set upright.

    Pixel formats of 9 to 14 bits name their depth, and FFmpeg scales them. Values in a format of 16 bits may
    use fewer: then `bit_depth` says how many. Raises ImageError (`unusable`) where that must be set.
    """
    deep_format = _deep_format(frame)
    if deep_format is None:
        image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    else:
        values = np.asarray(frame.to_ndarray(format=deep_format), np.uint16)
        image = scale_to_8_bits(values, None, bit_depth)
        if image.ndim == 2:
            image = np.repeat(image[:, :, np.newaxis], 3, axis=2)
    return np.ascontiguousarray(set_upright(image, _display_matrix(frame)), np.uint8)


def _deep_format(frame: VideoFrame) -> str | None:
    """Return in which format to read values of 16 bits, grey or colour; None for all other formats."""
    components = frame.format.components
    if not components or components[0].bits != 16:
        return None
    if len(components) <= 2:
        return "gray16le"
    return "bgr48le" if frame.format.is_rgb else None


def set_upright(image: Image, matrix: tuple[int, int, int, int]) -> Image:
    """Return `image` turned or mirrored as a player does it.

    `matrix` is (a, b, c, d): a pixel at (x, y) is shown at (ax + cy, bx + dy), but for a shift. Anything else
    than quarter turns and mirrors is left as it is.
    """
    a, b, c, d = (np.sign(round(value / 65536)) for value in matrix)
    if (a, b, c, d) == (1, 0, 0, 1) or not _is_quarter_turn(a, b, c, d):
        return image
    if a == 0:
        image = image.transpose(1, 0, 2)
        a, d = c, b  # what moves along x and along y from now on
    return image[:: int(d), :: int(a)]


def _is_quarter_turn(a: float, b: float, c: float, d: float) -> bool:
    return bool((a and d and not b and not c) or (b and c and not a and not d))


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    # Not frame.side_data: with it, frame and container refer to each other, and stay until a collection.
    container = SideDataContainer(frame)  # type: ignore[call-arg]  # its stub lacks the constructor
    try:
        a, b, _, c, d, *_ = struct.unpack("=9i", bytes(container[Type.DISPLAYMATRIX]))
    except KeyError:
        return 65536, 0, 0, 65536
    return a, b, c, d


class Deinterlacer:
    """Turns interlaced frames into whole ones; other frames pass as they are.

    From the first interlaced frame on, each frame comes one later, since the next one is needed: what stands
    still keeps its full height, what moves is taken from one field alone.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._layout: tuple[int, int, str] | None = None

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Take a frame in and give those out that are ready."""
        layout = frame.width, frame.height, frame.format.name
        if self._graph is not None and layout != self._layout:
            yield from self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph, self._layout = _deinterlacing_graph(frame), layout
        self._graph.push(frame)
        yield from self._pull()

    def flush(self) -> Iterator[VideoFrame]:
        """Give out what is left."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = None

    def _pull(self) -> Iterator[VideoFrame]:
        while self._graph is not None:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if isinstance(frame, VideoFrame):
                yield frame


def _deinterlacing_graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph
