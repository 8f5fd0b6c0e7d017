"""Apply changed settings to a running daemon."""

from collections.abc import Callable

from monitor.bootstrap.cameras import camera_configs
from monitor.bootstrap.inference import build_router, explanation_config, share_networks
from monitor.daemon.daemon import Reloaded
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.settings import Settings

_APPLIED = ("camera", "sanity", "model", "explain", "annotate")
"""Tables whose changes a reload applies."""


_BOUNDS = ("queue", "queue_bytes")
"""Keys of `[explain]` that limit the queue, which is created at the start only."""


class SettingsReloader:
    """Read the settings again and apply them.

    Cameras, frame limits, models, thresholds and explanations change while the daemon runs. A new model is
    loaded while the old one still classifies. Other changed tables are reported as not applied.
    """

    def __init__(
        self,
        settings: Settings,
        read_settings: Callable[[], Settings],
        *,
        router: ModelRouter,
        scheduler: DeviceScheduler,
        explanation: ExplanationStage,
        on_models_changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._started_with = settings
        self._read_settings = read_settings
        self._router = router
        self._scheduler = scheduler
        self._explanation = explanation
        self._on_models_changed = on_models_changed

    def __call__(self) -> Reloaded:
        """Apply the current settings. On MonitorError nothing has changed."""
        changed = self._read_settings()
        not_applied = self._not_applied(changed)
        fresh = changed.model_copy(update={"inference": self._started_with.inference})
        router = build_router(fresh, self._scheduler)
        configs = camera_configs(fresh, router)
        if self._models_differ(fresh):
            share_networks(router, self._router)
            router.load()
            self._router.adopt(router)
            self._on_models_changed()
        self._explanation.configure(explanation_config(fresh))
        self._settings = fresh
        return Reloaded(configs, not_applied)

    def _not_applied(self, settings: Settings) -> list[str]:
        """Return the tables and keys that differ from those at the start and need a restart."""
        before = self._started_with
        tables = [name for name in type(settings).model_fields if name not in _APPLIED]
        changed = [name for name in tables if getattr(settings, name) != getattr(before, name)]
        keys = [key for key in _BOUNDS if getattr(settings.explain, key) != getattr(before.explain, key)]
        return changed + [f"explain.{key}" for key in keys]

    def _models_differ(self, fresh: Settings) -> bool:
        """Return whether a model, or a setting that it was built with, has changed."""
        before = self._settings
        built_with = ("max_n", "scoring", "threshold")
        return fresh.model != before.model or any(
            getattr(fresh.explain, name) != getattr(before.explain, name) for name in built_with
        )
