"""Build the operator's page from the settings of the daemon that it belongs to."""

from monitor import __version__
from monitor.bootstrap.delivery import page_credentials
from monitor.redis_streams.history import StreamHistory
from monitor.settings import Settings, redacted
from monitor.web.access import User
from monitor.web.app import build_app
from monitor.web.server import PageServer


def build_page(settings: Settings, *, trusted_proxy: str | None = None) -> PageServer:
    """Build the page; connects when it is started. Raises UsageError for an invalid Redis URL."""
    redis, metrics = settings.redis, settings.metrics
    history = StreamHistory(redis.url.get_secret_value(), redis.prefix, access=page_credentials(settings))
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(metrics.host, metrics.host)  # noqa: S104
    app = build_app(
        history,
        metrics_address=f"http://{f'[{host}]' if ':' in host else host}:{metrics.port}",
        cameras=[camera.name for camera in settings.camera],
        settings=redacted(settings),
        users={
            name: User(user.password.get_secret_value(), user.role)
            for name, user in settings.page.users.items()
        },
        version=__version__,
    )
    return PageServer(app, trusted_proxy=trusted_proxy)
