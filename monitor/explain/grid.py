"""Draw the article's comparison of all methods on one image, as a labelled sheet of 4 rows and 5 columns."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from monitor.explain.heatmap import colorize, emphasize, overlay_heatmap, upsample
from monitor.records import Heatmap, Image

COLUMNS = ("grad-cam", "grad-cam++", "score-cam", "faster-score-cam")


ROWS = ("overlay", "emphasized", "guided", "edges")


_CELL, _GAP, _LABEL = 256, 6, 24


_BACKGROUND, _TEXT, _FAINT = (250, 250, 250), (30, 30, 30), (120, 120, 120)


_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def comparison_sheet(
    image: Image,
    heats: Mapping[str, Heatmap],
    sobel_edges: Heatmap,
    facts: Sequence[str],
    notes: Mapping[str, str],
) -> Image:
    """Draw the sheet for `image` (h, w, 3).

    `heats` maps each method to its heat of any size, 0..1: the four CAMs, `guided-backprop`, `guided-<cam>`
    and `edges-<cam>`. `sobel_edges` (rows, columns) are the edges of the image. `facts` are text lines for
    the cell below the input, such as class and score. A method in `notes` has no heat, for the noted reason.

    Row 1: the input, then each CAM over it. Row 2: each CAM emphasized. Row 3: guided backpropagation and
    its product with each CAM. Row 4: the edges and their product with each CAM.
    """
    small = _fit(image)
    height, width = small.shape[:2]

    def cell_of(method: str, *, emphasized: bool = False) -> Image:
        heat = upsample(heats[method], height, width)
        fine = method.startswith(("guided", "edges"))
        cell = colorize(heat) if fine else overlay_heatmap(small, emphasize(heat) if emphasized else heat)
        return _with_note(cell, notes[method]) if method in notes else cell

    rows = [
        [("input", small), *((cam, cell_of(cam)) for cam in COLUMNS)],
        [
            ("", _written(facts, height, width)),
            *((f"{cam}, emphasized", cell_of(cam, emphasized=True)) for cam in COLUMNS),
        ],
        [
            ("guided-backprop", cell_of("guided-backprop")),
            *((f"guided-{cam}", cell_of(f"guided-{cam}")) for cam in COLUMNS),
        ],
        [
            ("edges", colorize(upsample(sobel_edges, height, width))),
            *((f"edges-{cam}", cell_of(f"edges-{cam}")) for cam in COLUMNS),
        ],
    ]
    sheet = np.full(
        (len(rows) * (height + _LABEL + _GAP) + _GAP, 5 * (width + _GAP) + _GAP, 3), _BACKGROUND, np.uint8
    )
    for row, cells in enumerate(rows):
        for column, (label, cell) in enumerate(cells):
            top = _GAP + row * (height + _LABEL + _GAP)
            left = _GAP + column * (width + _GAP)
            _write(sheet, label, left, top + _LABEL - 8, width)
            sheet[top + _LABEL : top + _LABEL + height, left : left + width] = cell
    return sheet


def _fit(image: Image) -> Image:
    """Resize so that the longer side equals that of a cell."""
    scale = _CELL / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8)


def _written(lines: Sequence[str], height: int, width: int) -> Image:
    cell = np.full((height, width, 3), _BACKGROUND, np.uint8)
    for number, line in enumerate(lines):
        _write(cell, line, 4, 22 + 22 * number, width - 8)
    return cell


def _with_note(cell: Image, note: str) -> Image:
    """Write the reason into a cell without heat."""
    cell = cell.copy()
    cell[:_LABEL] = _BACKGROUND
    _write(cell, f"no heat: {note}", 4, _LABEL - 8, cell.shape[1] - 8, ink=_FAINT)
    return cell


def _write(
    canvas: Image, text: str, left: int, baseline: int, width: int, *, ink: tuple[int, int, int] = _TEXT
) -> None:
    """Write a line, scaled down to fit `width` pixels."""
    (long, _), _ = cv2.getTextSize(text, _FONT, _SIZE, 1)
    size = _SIZE * min(1.0, width / max(long, 1))
    cv2.putText(canvas, text, (left, baseline), _FONT, size, ink, 1, cv2.LINE_AA)
