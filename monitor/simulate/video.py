"""Simulated pictures as a video, with the truth of each frame beside it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import av

from monitor.errors import UsageError
from monitor.simulate.files import writing
from monitor.simulate.surface import SurfaceLine

QUALITY: Mapping[str, str] = {"crf": "18", "preset": "veryfast"}
"""Well above the usual: a coarser one smooths good texture until it looks like a defect."""


def write_video(
    line: SurfaceLine,
    out: Path,
    fps: float,
    frames: int,
    *,
    replace: bool = False,
    options: Mapping[str, str] = QUALITY,
    written: Callable[[], None] = lambda: None,
) -> int:
    """Write pictures 0 .. frames-1 as H.264 in `out`, an MP4 file; return how many are defective.

    Beside it a file of the same name, ending in .jsonl, gets one JSON object a frame: `frame` (from 0),
    `ellipse` (the fields of Ellipse; null for a good one) and `box` ([x, y, width, height], or null).
    Both appear only when complete. `options` are x264's. `written` is called after each frame.
    Raises UsageError for an odd width or height, which H.264 (yuv420p) cannot hold, for a rate or a length
    out of range, and where a file is there and `replace` is false; DataError where the disk refuses.
    """
    if line.width % 2 or line.height % 2:
        raise UsageError(f"a video needs an even width and height, not {line.width}x{line.height}")
    if not 0.1 <= fps <= 1000:
        raise UsageError(f"a video has a rate of 0.1 to 1000 frames a second, not {fps:g}")
    if frames < 1:
        raise UsageError(f"a video needs at least one frame, not {frames}")
    truths = out.with_suffix(".jsonl")
    for path in (out, truths):
        if path.is_dir() or (path.exists() and not replace):
            raise UsageError(
                f"{path} exists" + ("; --force replaces it" if path.is_file() else " and is a folder")
            )
    unfinished = out.with_name(out.name + ".part")
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            _encode(line, unfinished, fps, frames, options=options, written=written)
            unfinished.replace(out)
        finally:
            unfinished.unlink(missing_ok=True)
    rows = [_truth_row(line, number) for number in range(frames)]
    with writing(truths):
        truths.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
    return sum(row["ellipse"] is not None for row in rows)


def _encode(
    line: SurfaceLine,
    path: Path,
    fps: float,
    frames: int,
    *,
    options: Mapping[str, str],
    written: Callable[[], None],
) -> None:
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = line.width, line.height, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(line.picture(number), format="bgr24")
            container.mux(stream.encode(frame))
            written()
        container.mux(stream.encode())


def _truth_row(line: SurfaceLine, number: int) -> dict[str, object]:
    truth = line.truth(number)
    if truth is None:
        return {"frame": number, "ellipse": None, "box": None}
    box = truth.box(line.width, line.height)
    return {"frame": number, "ellipse": asdict(truth), "box": [box.left, box.top, box.width, box.height]}
