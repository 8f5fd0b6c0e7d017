"""Build cameras and their configurations from the settings."""

import math
from collections.abc import Callable
from functools import partial

from monitor.bootstrap.capture import capture_config
from monitor.capture.camera import Camera
from monitor.capture.supervisor import spawn_worker
from monitor.capture.viewer import FrameViewer
from monitor.daemon.cameras import CameraConfig
from monitor.inference.router import ModelRouter
from monitor.records import CameraStateChange, Gap
from monitor.settings import Settings

_MAX_LISTING_TIME = 30.0
"""Seconds without a message after which a watched folder's capture process is replaced."""


_STARTUP_MARGIN = 5.0
"""Seconds that a capture process may need beyond its own timeouts, on a busy machine."""


def camera_configs(settings: Settings, router: ModelRouter) -> list[CameraConfig]:
    """Return the configuration of each camera, with the input size of the model that `router` selects."""
    return [
        CameraConfig(
            name=camera.name,
            capture=capture_config(settings, camera, router.handle_for(camera.name).spec.input_size),
            # An idle watched folder reports that after each listing, which may take long.
            stall_timeout=max(camera.silence, _MAX_LISTING_TIME) if camera.watch else camera.silence,
            startup_timeout=camera.open_timeout + camera.read_timeout + _STARTUP_MARGIN,
            expected_fps=camera.expected_fps,
        )
        for camera in settings.camera
    ]


def create_camera(
    config: CameraConfig,
    *,
    report: Callable[[Gap | CameraStateChange], None],
    on_frame: Callable[[], None],
    on_frame_read: Callable[[float], None],
    viewer: FrameViewer,
) -> Camera:
    """Create a camera that a separate process reads; do not start it."""
    return Camera(
        config.name,
        partial(spawn_worker, config.name, config.capture),
        keep_every_frame=config.capture.every,
        buffer=config.capture.buffer,
        stall_timeout=config.stall_timeout,
        startup_timeout=config.startup_timeout,
        max_age=config.capture.max_age if config.capture.bounds_age else math.inf,
        expected_fps=config.expected_fps,
        finite=not config.capture.reopen,
        report=report,
        on_frame=on_frame,
        on_frame_read=on_frame_read,
        viewer=viewer,
    )
