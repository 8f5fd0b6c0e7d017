"""`defect-monitor run`: the daemon."""

import faulthandler
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import MonitorError


def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="Settings file (TOML).")],
) -> None:
    """Inspect the cameras of CONFIG until they end or a signal stops it.

    SIGHUP applies the changes of CONFIG and logs those that need a restart. SIGUSR1 logs the stack of each
    thread and the length of each queue. A second Ctrl-C exits at once.
    """
    from monitor.cli.process import limit_library_threads

    limit_library_threads()
    from monitor.cli.process import exit_now, stop_on_signals
    from monitor.inference.backends.base import is_installed
    from monitor.inference.device import import_tensorflow
    from monitor.settings import load_settings
    from monitor.telemetry.logs import setup_logging
    from monitor.telemetry.thread_dump import block_signal, dump_on_signal

    settings = load_settings(config)
    setup_logging(settings.log.level, settings.log.format)

    block_signal()  # before any thread is started
    if settings.inference.runtime == "tensorflow" or not is_installed("openvino"):
        import_tensorflow()  # now, while no other thread logs
    from monitor.bootstrap.daemon import build_daemon
    from monitor.telemetry.systemd import SystemdNotifier

    faulthandler.enable()  # systemd ends a stuck service with SIGABRT: the journal then shows where
    try:
        daemon = build_daemon(settings, partial(load_settings, config), SystemdNotifier.from_environment())
        dump_on_signal(daemon.queue_depths)
        stop_on_signals(daemon.stop)
        signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
        daemon.run()
    except MonitorError as error:
        print(f"defect-monitor: {error}", file=sys.stderr)
        exit_now(error.exit_code)
    exit_now(0)
