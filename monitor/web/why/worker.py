"""The process that explains one frame: `python -m monitor.web.why.worker`.

Standard input: an `ExplanationOrder` as one line of JSON, then the frame as JPEG. Standard output: the frame
with the heat over it, JPEG. Exit code 1 with one sentence on standard error where that is impossible.
"""

import os
import sys

import cv2
import numpy as np

from monitor.errors import ImageError, MonitorError, UsageError
from monitor.imaging.geometry import resize_to_input, tile_boxes, tiles_to_explain
from monitor.imaging.jpeg import encode_jpeg
from monitor.imaging.regions import merge_heatmaps
from monitor.records import Box, Image, TileHeatmap
from monitor.web.why.order import ExplanationOrder

_MAX_TILES = 4
"""Flagged tiles that are explained, those of the highest scores: a Score-CAM of many would take minutes."""

_NICENESS = 10
"""Inspection gets ten times as much of a busy core; at 19 an explanation would not end on a busy machine."""


def main() -> int:
    """Explain the frame on standard input; return the exit code."""
    os.nice(_NICENESS)
    try:
        order = ExplanationOrder.model_validate_json(sys.stdin.buffer.readline())
        image = _decode(sys.stdin.buffer.read())
        picture = explain_frame(order, image)
    except MonitorError as error:
        print(error, file=sys.stderr)  # noqa: T201 (the page reads it)
        return 1
    sys.stdout.buffer.write(encode_jpeg(picture, 90))
    return 0


def explain_frame(order: ExplanationOrder, image: Image) -> Image:
    """Return `image` with the heat of its flagged tiles. Raises MonitorError.

    The tiles are those of the settings, and are classified again: heat is of the tiles that are flagged, at
    most four, those of the highest scores.
    """
    from monitor.inference.device import import_tensorflow  # noqa: PLC0415 (takes seconds)

    import_tensorflow()
    from monitor.explain import Explainer  # noqa: PLC0415
    from monitor.explain.heatmap import overlay_heatmap  # noqa: PLC0415
    from monitor.models.bundle import load_bundle  # noqa: PLC0415
    from monitor.models.preprocessing import preprocess  # noqa: PLC0415
    from monitor.models.registry import resolve_model_path  # noqa: PLC0415

    bundle = load_bundle(resolve_model_path(order.model))
    card = bundle.card
    if card.model.sha256 != order.sha256:
        raise UsageError(
            "the model was replaced after this frame: the one that flagged it is not here any more"
        )
    height, width = image.shape[:2]
    roi = None
    if order.roi is not None:
        left, top, across, down = order.roi
        roi = Box(left, top, left + across, top + down)
    boxes = tile_boxes(width, height, roi=roi, tiles=order.tiles, overlap=order.overlap)
    parts = [resize_to_input(it.of(image), card.input_size) for it in boxes]
    x = preprocess(card, np.stack(parts))
    explainer = Explainer(bundle.keras_model(), card.cam_layer)
    scores = explainer.explain(x, card.defect_class, "grad-cam").score
    tiles = []
    # One tile at a time: memory for the masked inputs of one is enough.
    for index in tiles_to_explain(scores, order.threshold)[:_MAX_TILES]:
        found = explainer.explain(x[index : index + 1], card.defect_class, order.method)
        tiles.append(TileHeatmap(found.heat[0], boxes[index], float(found.strength[0]), float(scores[index])))
    # Heat of the input's own size, as of guided backpropagation, has no offset of cells.
    offset = (0.0, 0.0) if tiles[0].heatmap.shape == card.input_size else card.cell_offset
    heat = merge_heatmaps(tiles, width=width, height=height, input_size=card.input_size, cell_offset=offset)
    return overlay_heatmap(image, heat)


def _decode(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) if jpeg else None
    if image is None:
        raise ImageError("the stored frame cannot be decoded")
    return np.asarray(image, np.uint8)


if __name__ == "__main__":
    sys.exit(main())
