"""`defect-monitor archive`: a service that keeps events and images longer than Redis does."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.redis_server import (
    Config,
    Password,
    Prefix,
    RedisServer,
    TlsCa,
    TlsCertificate,
    TlsKey,
    Url,
    Username,
)


def archive(
    to: Annotated[Path, typer.Option(help="Folder of the archive; a folder for each day is made in it.")],
    *,
    max_bytes: Annotated[
        int,
        typer.Option(
            min=1_000_000,
            envvar="DEFECT_MONITOR_ARCHIVE_MAX_BYTES",
            show_envvar=True,
            help="Limit of the archive's size in bytes; beyond it the oldest days are removed.",
        ),
    ] = 100_000_000_000,
    config: Config = None,
    url: Url = None,
    prefix: Prefix = None,
    username: Username = None,
    password: Password = None,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    group: Annotated[
        str, typer.Option(help="Consumer group; each archive of one Redis needs its own.")
    ] = "archive",
    host: Annotated[str, typer.Option(help="Address for metrics and health.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port for them; 0 selects a free one.")] = 9465,
) -> None:
    """Store events and their images in daily folders until a signal stops it.

    An event is acknowledged once it is on disk, so a restart loses none and stores none twice. What was
    trimmed away from Redis before it was read, and what was removed to make room, is logged, counted and
    noted in `notices.jsonl`. While the disk or Redis fails, it waits.
    """
    from monitor.cli.process import stop_on_signals
    from monitor.telemetry.http_server import start_http_server
    from monitor.telemetry.logs import setup_logging
    from monitor.telemetry.systemd import SystemdNotifier
    from monitor.tools.archiver.archive import Archive
    from monitor.tools.archiver.metrics import ArchiveMetrics
    from monitor.tools.archiver.service import Archiver

    setup_logging("info", "text")
    server = RedisServer(config, url, prefix, username, password, tls_ca, tls_certificate, tls_key)
    store = Archive(to, max_bytes)
    metrics = ArchiveMetrics(store)
    archiver = Archiver(
        partial(server.subscriber, patience=0),
        store,
        metrics,
        group=group,
        notifier=SystemdNotifier.from_environment(),
    )
    http = start_http_server(
        host, port, registry=metrics.registry, liveness=archiver.liveness, readiness=archiver.readiness
    )
    stop_on_signals(archiver.stop)
    try:
        archiver.run()
    finally:
        http.close()
        store.close()
