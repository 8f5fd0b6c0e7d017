"""From settings to parts: the one place that turns them into plain values."""

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from monitor.bootstrap.delivery import outbox_path
from monitor.capture.camera import Camera
from monitor.capture.config import CaptureConfig
from monitor.capture.image_checks import QualityLimits
from monitor.capture.sources.address import parse_address
from monitor.capture.supervisor import spawn_worker
from monitor.inference.router import ModelRouter
from monitor.pipeline.explanation_stage import MAX_PINNED_FRAMES
from monitor.settings import CameraSettings, Settings

_LONGEST_LISTING = 30.0
"""Seconds without a word of a watched folder's capture process after which it is replaced."""

_LEEWAY = 5.0
"""Seconds that a capture process may need beyond its own time limits, on a busy machine."""


def camera_factory(settings: Settings, router: ModelRouter) -> Callable[..., Camera]:
    """Makes a camera, not started, from its settings and the callbacks of `Camera`.

    Its capture process brings images to the input size of the model that `router` gives it.
    """

    def make(wanted: CameraSettings, **callbacks: Any) -> Camera:
        what = capture_config(settings, wanted, router.handle_for(wanted.name).spec.input_size)
        return Camera(
            wanted.name,
            partial(spawn_worker, wanted.name, what),
            keep_every_frame=what.every,
            buffer=wanted.buffer,
            # A watched folder that is idle reports so after each listing, which may take long.
            stall_timeout=max(wanted.silence, _LONGEST_LISTING) if wanted.watch else wanted.silence,
            startup_timeout=wanted.open_timeout + wanted.read_timeout + _LEEWAY,
            max_age=wanted.max_age,
            expected_fps=wanted.expected_fps,
            finite=not what.reopen,
            **callbacks,
        )

    return make


def capture_config(settings: Settings, wanted: CameraSettings, input_size: tuple[int, int]) -> CaptureConfig:
    """What is to be read of a camera, and how, for a network of `input_size` (height, width)."""
    roi = None
    if wanted.roi is not None:
        left, top, width, height = wanted.roi
        roi = left, top, left + width, top + height
    return CaptureConfig(
        source=wanted.source,
        every=wanted.inspects_every_frame,
        # A camera comes back by itself; a folder or file that is not there is a mistake to mend.
        reopen=wanted.loop or wanted.watch or parse_address(wanted.source).kind != "files",
        input_size=input_size,
        # Waiting, in a batch, waiting for an explanation, and being written.
        buffer_slots=wanted.buffer + settings.inference.batch + MAX_PINNED_FRAMES + 2,
        fps=wanted.fps,
        loop=wanted.loop,
        open_timeout=wanted.open_timeout,
        read_timeout=wanted.read_timeout,
        roi=roi,
        tiles=wanted.tiles,
        overlap=wanted.overlap,
        frozen_after=wanted.frozen_after,
        decode=wanted.decode,
        limits=quality_limits(settings, wanted),
        watch=wanted.watch,
        inspected_files=str(inspected_files_path(settings, wanted)) if wanted.watch else None,
    )


def inspected_files_path(settings: Settings, wanted: CameraSettings) -> Path:
    """Return the file that stores what a watched folder's camera has inspected.

    Beside the outbox. Without an outbox file, in `$XDG_STATE_HOME/defect-monitor`, by default
    `~/.local/state/defect-monitor`, with a digest of the folder in its name.
    """
    outbox = outbox_path(settings)
    if outbox is not None:
        return outbox.with_name(f"{outbox.name}.inspected-{wanted.name}.db")
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    place = hashlib.blake2s(os.fsencode(Path(wanted.source).absolute()), digest_size=6).hexdigest()
    return Path(folder) / "defect-monitor" / f"inspected-{wanted.name}-{place}.db"


def quality_limits(settings: Settings, wanted: CameraSettings) -> QualityLimits | None:
    """What this camera's pictures must be before they are judged; None where that is not looked at."""
    sanity = wanted.sanity or settings.sanity
    return QualityLimits(**sanity.model_dump(exclude={"enabled"})) if sanity.enabled else None
