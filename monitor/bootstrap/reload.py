"""Apply changed settings to a running daemon."""

from collections.abc import Callable, Sequence
from functools import partial

from monitor.bootstrap.cameras import camera_configs
from monitor.bootstrap.delivery import redis_credentials
from monitor.bootstrap.inference import build_router, explanation_config, local_models
from monitor.daemon.daemon import Reloaded
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.redis_streams.address import RedisCredentials, parse_redis_url
from monitor.settings import Settings
from monitor.settings.schema import RedisSettings

_APPLIED = ("camera", "recipe", "sanity", "model", "explain", "annotate", "redis")
"""Tables and keys whose changes a reload applies, but for the keys below."""


_BOUNDS = ("queue", "queue_bytes")
"""Keys of `[explain]` that limit the queue, which is created at the start only."""


_FIXED_REDIS = ("prefix", "stream_maxlen", "frame_ttl", "picture_bytes", "replicas", "durable", "timeout")
"""Keys of `[redis]` that a reload does not apply. A new `url` is applied if the server stays the same."""


_PATIENCE = 4
"""Verdicts before each step of loading and checking a model: however many are queued, a reload comes to an
end, and takes at most a fifth of the device from them."""


class SettingsReloader:
    """Read the settings again and apply them.

    Cameras, frame limits, models, thresholds, explanations and the credentials for Redis change while the
    daemon runs. A new model is loaded while the old one still classifies, and used if it answers its
    reference images as its card says. `set_redis_access` hands the credentials to each connection.
    `on_recipe` gets the name of a new recipe, and of the one before. `on_pool_answer`: see `PoolModel`. Other
    changes are reported as not applied.
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
        on_recipe: Callable[[str | None, str | None], None],
        on_pool_answer: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._started_with = settings
        self._read_settings = read_settings
        self._router = router
        self._scheduler = scheduler
        self._explanation = explanation
        self._set_redis_access = tuple(set_redis_access)
        self._on_models_changed = on_models_changed
        self._on_recipe = on_recipe
        self._on_pool_answer = on_pool_answer

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
        router = build_router(fresh, self._scheduler, self._router, self._on_pool_answer)
        configs = camera_configs(fresh, router)
        with self._scheduler.in_background(_PATIENCE):
            _load(router, self._router)
        for set_access in self._set_redis_access:
            set_access(redis.url.get_secret_value(), access)
        self._explanation.configure(explanation_config(fresh))
        self._settings = fresh
        is_rerouted = router.routing != self._router.routing
        return Reloaded(configs, partial(self._switch, router) if is_rerouted else None, not_applied)

    def _switch(self, router: ModelRouter) -> None:
        before = self._router.routing.recipe
        self._router.adopt(router)
        self._on_models_changed()
        if (recipe := router.routing.recipe) != before:
            self._on_recipe(recipe, before)

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


def _load(router: ModelRouter, running: ModelRouter) -> None:
    """Load the models, and check bundles that do not run yet. Raises DeviceError or ModelError."""
    router.load()
    known = [model.card for model in local_models((*running.handles, *running.shadows))]
    for model in local_models((*router.handles, *router.shadows)):
        if model.card not in known:
            model.check_references()


def _is_same_server(one: RedisSettings, other: RedisSettings) -> bool:
    """Return whether the URLs differ at most in user and password."""
    first, second = (parse_redis_url(it.url.get_secret_value()) for it in (one, other))
    return first.server == second.server
