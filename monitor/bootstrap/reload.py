"""Apply changed settings to a running daemon."""

from collections.abc import Callable, Sequence

from monitor.bootstrap.cameras import camera_configs
from monitor.bootstrap.delivery import redis_credentials
from monitor.bootstrap.inference import build_router, explanation_config, share_networks
from monitor.daemon.daemon import Reloaded
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.redis_streams.address import RedisCredentials, parse_redis_url
from monitor.settings import Settings
from monitor.settings.schema import RedisSettings

_APPLIED = ("camera", "sanity", "model", "explain", "annotate", "redis")
"""Tables whose changes a reload applies, but for the keys below."""


_BOUNDS = ("queue", "queue_bytes")
"""Keys of `[explain]` that limit the queue, which is created at the start only."""


_FIXED_REDIS = ("prefix", "stream_maxlen", "frame_ttl", "picture_bytes", "replicas", "durable", "timeout")
"""Keys of `[redis]` that a reload does not apply. A new `url` is applied if the server stays the same."""


class SettingsReloader:
    """Read the settings again and apply them.

    Cameras, frame limits, models, thresholds, explanations and the credentials for Redis change while the
    daemon runs. A new model is loaded while the old one still classifies. `set_redis_access` hands the
    credentials to each connection. Other changes are reported as not applied.
    """

    def __init__(
        self,
        settings: Settings,
        read_settings: Callable[[], Settings],
        *,
        router: ModelRouter,
        scheduler: DeviceScheduler,
        explanation: ExplanationStage,
        set_redis_access: Sequence[Callable[[str, RedisCredentials], None]],
        on_models_changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._started_with = settings
        self._read_settings = read_settings
        self._router = router
        self._scheduler = scheduler
        self._explanation = explanation
        self._set_redis_access = tuple(set_redis_access)
        self._on_models_changed = on_models_changed

    def __call__(self) -> Reloaded:
        """Apply the current settings. On MonitorError nothing has changed."""
        changed = self._read_settings()
        not_applied = self._not_applied(changed)
        started_with = self._started_with
        redis = changed.redis
        if not _is_same_server(redis, started_with.redis):
            redis = redis.model_copy(update={"url": self._settings.redis.url})
        fixed = {"inference": started_with.inference, "samples": started_with.samples}
        fresh = changed.model_copy(update={**fixed, "redis": redis})
        access = redis_credentials(fresh)
        router = build_router(fresh, self._scheduler)
        configs = camera_configs(fresh, router)
        models_differ = self._models_differ(fresh)
        if models_differ:
            share_networks(router, self._router)
            router.load()
        for set_access in self._set_redis_access:
            set_access(redis.url.get_secret_value(), access)
        if models_differ:
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
        changed += [
            f"explain.{key}"
            for key in _BOUNDS
            if getattr(settings.explain, key) != getattr(before.explain, key)
        ]
        changed += [
            f"redis.{key}"
            for key in _FIXED_REDIS
            if getattr(settings.redis, key) != getattr(before.redis, key)
        ]
        return changed if _is_same_server(settings.redis, before.redis) else [*changed, "redis.url"]

    def _models_differ(self, fresh: Settings) -> bool:
        """Return whether a model, or a setting that it was built with, has changed."""
        before = self._settings
        built_with = ("max_n", "scoring", "threshold")
        return fresh.model != before.model or any(
            getattr(fresh.explain, name) != getattr(before.explain, name) for name in built_with
        )


def _is_same_server(one: RedisSettings, other: RedisSettings) -> bool:
    """Return whether the URLs differ at most in user and password."""
    first, second = (parse_redis_url(it.url.get_secret_value()) for it in (one, other))
    return first.server == second.server
