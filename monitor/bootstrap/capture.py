"""Build the configuration of capture processes from the settings."""

import hashlib
import os
from pathlib import Path

from monitor.bootstrap.delivery import outbox_path
from monitor.capture.config import CaptureConfig
from monitor.capture.image_checks import QualityLimits
from monitor.capture.sources.address import parse_address
from monitor.daemon.samples import PINNED_FRAMES
from monitor.pipeline.flagged_queue import MAX_PINNED_FRAMES
from monitor.pipeline.shadow_stage import SHADOW_PINNED_FRAMES
from monitor.settings import CameraSettings, Settings

_SHOWN = 2
"""Frames that previews may hold: one left for publication, one being encoded."""


def capture_config(settings: Settings, camera: CameraSettings, input_size: tuple[int, int]) -> CaptureConfig:
    """Return how to read a camera, for a network input of `input_size` (height, width) in pixels."""
    roi = None
    if camera.roi is not None:
        left, top, width, height = camera.roi
        roi = left, top, left + width, top + height
    sampled = PINNED_FRAMES if settings.samples.publish else 0
    sampled += 0 if camera.shadow is None else SHADOW_PINNED_FRAMES + 1
    return CaptureConfig(
        source=camera.address,
        every=camera.inspects_every_frame,
        # A camera can recover by itself; a missing folder or file is a mistake that a person must fix.
        reopen=camera.loop or camera.watch or parse_address(camera.source).kind != "files",
        input_size=input_size,
        # Frames queued, in a batch, queued for an explanation, shown, kept for learning (those on which a
        # shadow model differs, too), and being written.
        buffer_slots=camera.buffer + settings.inference.batch + MAX_PINNED_FRAMES + _SHOWN + sampled + 2,
        buffer=camera.buffer,
        max_age=camera.max_age,
        fps=camera.fps,
        loop=camera.loop,
        open_timeout=camera.open_timeout,
        # The capture process must wait at least as long as the daemon does.
        read_timeout=max(camera.read_timeout, camera.silence),
        triggered=camera.silence == 0,
        transport=camera.transport,
        rotate=camera.rotate,
        bit_depth=camera.bit_depth,
        size=camera.size,
        pixel_format=camera.format,
        exposure=camera.exposure,
        gain=camera.gain,
        expected_size=camera.expected_size,
        roi=roi,
        tiles=camera.tiles,
        overlap=camera.overlap,
        frozen_after=camera.frozen_after,
        decode=camera.decode,
        limits=quality_limits(settings, camera),
        # A triggered camera (silence = 0) may pause for any time without losing frames.
        find_lost=camera.silence > 0,
        watch=camera.watch,
        inspected_files=str(inspected_files_path(settings, camera)) if camera.watch else None,
    )


def inspected_files_path(settings: Settings, camera: CameraSettings) -> Path:
    """Return the file that lists the inspected files of a watched folder.

    It lies beside the outbox. Without an outbox file it lies in `$XDG_STATE_HOME/defect-monitor`, by default
    `~/.local/state/defect-monitor`, with a digest of the folder in its name.
    """
    outbox = outbox_path(settings)
    if outbox is not None:
        return outbox.with_name(f"{outbox.name}.inspected-{camera.name}.db")
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    digest = hashlib.blake2s(os.fsencode(Path(camera.source).absolute()), digest_size=6).hexdigest()
    return Path(folder) / "defect-monitor" / f"inspected-{camera.name}-{digest}.db"


def quality_limits(settings: Settings, camera: CameraSettings) -> QualityLimits | None:
    """Return the limits within which this camera's frames are classified; None if they are not checked."""
    sanity = camera.sanity or settings.sanity
    return QualityLimits(**sanity.model_dump(exclude={"enabled"})) if sanity.enabled else None
