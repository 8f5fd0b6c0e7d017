"""The service of a pool on a plain HTTP server, without Ray; run by `-m` with a port and bundles."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.daemon_process import ENVIRONMENT, free_port

if TYPE_CHECKING:
    import uvicorn

    from monitor.cluster.pool_service import PoolService


def _server(service: "PoolService", port: int, **tls: str) -> "uvicorn.Server":
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Route

    app = Starlette(routes=[Route("/{path:path}", service.handle, methods=["GET", "POST"])])
    return uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none", **tls))


@contextmanager
def serve_in_thread(service: "PoolService", **tls: str) -> Iterator[str]:
    """Run `service` in this process; its URL. `tls` are options of uvicorn."""
    port = free_port()
    server = _server(service, port, **tls)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http{'s' if tls else ''}://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@contextmanager
def serve_in_process(port: int, bundle: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a pool that holds `bundle` in a process of its own; it answers once the model is loaded."""
    command = [sys.executable, "-m", "tests.support.pool_server", str(port), str(bundle)]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main(port: int, *paths: str) -> None:
    from monitor.cluster.pool_service import HostedModels, PoolRequest, PoolService
    from monitor.inference.candidates import InferenceOptions
    from monitor.inference.handle import Classification
    from monitor.models.bundle import load_bundle

    models = HostedModels([load_bundle(Path(path)) for path in paths], InferenceOptions(device="cpu"))

    async def classify(request: PoolRequest) -> Classification:
        return (await asyncio.to_thread(models.classify, [request]))[0]

    _server(PoolService(models.sizes, classify, None), port).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
