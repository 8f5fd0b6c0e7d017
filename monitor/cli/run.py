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
    from monitor.cli.threads import leave_the_cores_to_the_network

    leave_the_cores_to_the_network()
    from monitor.classify.quiet import import_tensorflow
    from monitor.classify.runtime import installed
    from monitor.cli.signals import leave, stop_on_signals
    from monitor.log import start_log
    from monitor.settings import read_settings
    from monitor.stacks import tell_on_signal

    settings = read_settings(config)
    start_log(settings.log.level, settings.log.format)

    depths: list[Callable[[], Mapping[str, int]]] = []
    tell_on_signal(lambda: depths[0]() if depths else {})  # before any thread is started
    if settings.inference.runtime == "tensorflow" or not (installed("openvino") or installed("onnxruntime")):
        import_tensorflow()  # now, while no other thread has anything to say
    from monitor.daemon import Daemon
    from monitor.service import Service

    # What the service manager ends for being stuck (SIGABRT) says where it was stuck.
    faulthandler.enable()
    daemon = Daemon(settings, reread=lambda: read_settings(config), service=Service.of_environment())
    depths.append(daemon.depths)
    stop_on_signals(daemon.stop)
    signal.signal(signal.SIGHUP, lambda *_: daemon.reload())
    try:
        daemon.run()
    except MonitorError as error:
        print(f"defect-monitor: {error}", file=sys.stderr)
        leave(error.exit_code)
    leave(0)
