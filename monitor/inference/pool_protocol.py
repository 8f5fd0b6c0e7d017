"""The bytes between a line PC and a pool of models: uint8 inputs there, scores and heat back.

A request is `POST /v1/classify/<SHA-256 of the model>`; its body is the float64 thresholds of b inputs and
the (b, h, w, 3) uint8 inputs. An answer is the length of a JSON header (4 bytes), the header, and float32
arrays one after another. All numbers are little-endian. Nothing is unpickled, and every length is checked
before it is used.
"""

import json
import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.inference.handle import CamHeat, Classification
from monitor.models.novelty import NoveltyScore

SCHEMA = 1
"""Version of this format; a pool with another one is not used."""


PATH = f"/v{SCHEMA}/classify/"
"""Where requests go; the SHA-256 of the model follows."""


MAX_INPUTS = 1024
"""Inputs of one request at most."""


_LENGTH = struct.Struct("<I")
_MAX_CELLS = 1 << 16
"""Cells of the largest heat map that is read: 256 by 256."""


class ProtocolError(Exception):
    """A request or an answer is not what this version of the format allows."""


def encode_request(inputs: NDArray[np.uint8], thresholds: NDArray[np.float64]) -> bytes:
    """Encode (b, h, w, 3) inputs and their thresholds (b,), from which on heat is wanted."""
    return thresholds.astype("<f8").tobytes() + inputs.tobytes()


def decode_request(body: bytes, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Decode inputs of `size` (height, width) and their thresholds. Raises ProtocolError."""
    each = 8 + 3 * size[0] * size[1]
    count, rest = divmod(len(body), each)
    if rest or not 1 <= count <= MAX_INPUTS:
        raise ProtocolError(f"expected 1 to {MAX_INPUTS} inputs of {size[1]}x{size[0]} pixels")
    thresholds = np.frombuffer(body, "<f8", count)
    if not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise ProtocolError("expected thresholds from 0 to 1")
    return np.frombuffer(body, np.uint8, offset=8 * count).reshape(count, *size, 3), thresholds


def encode_answer(model: str, answer: Classification) -> bytes:
    """Encode the answer of the model whose SHA-256 is `model`; its evidence is heat."""
    heats = [each if isinstance(each, CamHeat) else None for each in answer.evidence]
    header = {
        "schema": SCHEMA,
        "model": model,
        "inputs": len(answer.scores),
        "novelty": [None if each is None else [each.distance, each.limit] for each in answer.novelty],
        "kinds": list(answer.kinds),
        "heats": [None if heat is None else _heat_header(heat) for heat in heats],
    }
    arrays = [answer.scores]
    for heat in heats:
        if heat is not None:
            arrays += [heat.heatmap] if heat.extents is None else [heat.heatmap, heat.extents]
    text = json.dumps(header).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *(it.astype("<f4").tobytes() for it in arrays)))


def decode_answer(data: bytes, model: str, count: int) -> Classification:
    """Decode the answer to `count` inputs. Raises ProtocolError unless it is of the model `model`."""
    try:
        header, body = _split(data)
        if header["schema"] != SCHEMA:
            raise ProtocolError(f"the pool speaks schema {header['schema']}, this program {SCHEMA}")
        if header["model"] != model:
            raise ProtocolError(f"the pool answered with the model {str(header['model'])[:12]}")
        if header["inputs"] != count or any(
            len(header[name]) not in allowed
            for name, allowed in (("novelty", (count,)), ("heats", (count,)), ("kinds", (0, count)))
        ):
            raise ProtocolError("the pool answered to another number of inputs")
        arrays = _Arrays(body)
        answer = Classification(
            arrays.take(count),
            [
                None if each is None else NoveltyScore(float(each[0]), float(each[1]))
                for each in header["novelty"]
            ],
            [None if each is None else _read_heat(each, arrays) for each in header["heats"]],
            [None if each is None else str(each) for each in header["kinds"]],
        )
        arrays.finish()
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        struct.error,
        RecursionError,
        OverflowError,
    ) as error:
        raise ProtocolError(f"the pool's answer cannot be read: {type(error).__name__}") from error
    return answer


def _split(data: bytes) -> tuple[Any, memoryview]:
    (length,) = _LENGTH.unpack_from(data)
    end = _LENGTH.size + length
    if end > len(data):
        raise ValueError("cut off")
    return json.loads(data[_LENGTH.size : end]), memoryview(data)[end:]


class _Arrays:
    """Takes float32 arrays from the start of a buffer, one after another."""

    def __init__(self, body: memoryview) -> None:
        self._values = np.frombuffer(body, "<f4")
        self._at = 0

    def take(self, *shape: int) -> NDArray[np.float32]:
        size = math.prod(shape)
        values = self._values[self._at : self._at + size]
        self._at += size
        return values.reshape(shape).astype(np.float32)  # an own copy; ValueError where it is cut off

    def finish(self) -> None:
        if self._at != len(self._values):
            raise ValueError("too long")


def _heat_header(heat: CamHeat) -> dict[str, Any]:
    return {
        "shape": heat.heatmap.shape,
        "peak": heat.peak,
        "method": heat.method,
        "maps": heat.maps_used,
        "extents": heat.extents is not None,
    }


def _read_heat(header: Any, arrays: _Arrays) -> CamHeat:
    rows, columns = (int(side) for side in header["shape"])
    if min(rows, columns) < 1 or rows * columns > _MAX_CELLS:
        raise ValueError("no heat map has such a size")
    peak = float(header["peak"])
    if not 0 <= peak < math.inf:
        raise ValueError("no peak is like that")
    heatmap = arrays.take(rows, columns)
    extents = arrays.take(rows, columns, 4) if header["extents"] else None
    return CamHeat(heatmap, peak, str(header["method"]), int(header["maps"]), extents)
