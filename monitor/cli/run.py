"""`defect-monitor run`: the daemon."""

import faulthandler
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import MonitorError


def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The settings, a TOML file.")],
) -> None:
    """Watch the cameras of CONFIG until they end or a signal comes.

    SIGHUP takes over cameras that were added, removed or changed in CONFIG; SIGUSR1 writes to the log what
    each thread does and what waits where. A second Ctrl-C exits at once.
    """
    from monitor.cli.process import limit_library_threads

    limit_library_threads()
    from monitor.cli.process import exit_now, stop_on_signals
    from monitor.inference.backends.base import is_installed
    from monitor.inference.device import import_tensorflow
    from monitor.settings import load_settings
    from monitor.telemetry.logs import setup_logging
    from monitor.telemetry.thread_dump import dump_on_signal

    settings = load_settings(config)
    setup_logging(settings.log.level, settings.log.format)

    depths: list[Callable[[], Mapping[str, int]]] = []
    dump_on_signal(lambda: depths[0]() if depths else {})  # before any thread is started
    if settings.inference.runtime == "tensorflow" or not is_installed("openvino"):
        import_tensorflow()  # now, while no other thread has anything to say
    from monitor.daemon import Daemon
    from monitor.telemetry.systemd import SystemdNotifier

    # What the service manager ends for being stuck (SIGABRT) says where it was stuck.
    faulthandler.enable()
    daemon = Daemon(
        settings, reload_settings=lambda: load_settings(config), service=SystemdNotifier.from_environment()
    )
    depths.append(daemon.queue_depths)
    stop_on_signals(daemon.stop)
    signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
    try:
        daemon.run()
    except MonitorError as error:
        print(f"defect-monitor: {error}", file=sys.stderr)
        exit_now(error.exit_code)
    exit_now(0)
