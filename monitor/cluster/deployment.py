"""The pool as a Ray Serve application: replicas that hold the models and batch across line PCs."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from monitor.cluster.pool_service import HostedModels, PoolRequest, PoolService
from monitor.errors import ClusterError, first_line
from monitor.inference.candidates import InferenceOptions
from monitor.inference.handle import Classification
from monitor.models.packing import unpack_bundle

_PATIENT_CONTROLLER = {"runtime_env": {"env_vars": {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}}}
"""Serve kills a proxy that is not ready after three checks of 5 s: on a busy machine it never starts."""


_NO_ACCESS_LOG = {"enable_access_log": False}
"""Serve would log a line for each batch of frames."""


@dataclass(frozen=True, slots=True)
class PoolDeployment:
    """How the application runs.

    From `min_replicas` to `max_replicas` replicas, each with `cpus` cores and `gpus` of a GPU, so many that
    about `target_requests` are under way in each. `queue` requests wait at most; further ones are refused.
    Each pass takes at most `batch` requests and waits `batch_wait` seconds for them. Requests need the
    `token`. With a certificate and its key, both PEM files, they come over HTTPS.
    """

    name: str = "defect-monitor"
    host: str = "127.0.0.1"
    port: int = 8000
    min_replicas: int = 1
    max_replicas: int = 1
    target_requests: float = 8
    cpus: float = 1
    gpus: float = 0
    queue: int = 64
    batch: int = 8
    batch_wait: float = 0.0
    device: str = "auto"
    token: str | None = field(default=None, repr=False)
    tls_certificate: str | None = None
    tls_key: str | None = None


@serve.deployment
class ModelPool:
    """One replica."""

    def __init__(self, packed: Sequence[bytes], options: InferenceOptions, pool: PoolDeployment) -> None:
        self._models = HostedModels([unpack_bundle(each) for each in packed], options)
        self._service = PoolService(self._models.sizes, self._classify, pool.token)
        self._classify.set_max_batch_size(pool.batch)
        self._classify.set_batch_wait_timeout_s(pool.batch_wait)

    @serve.batch  # type: ignore[untyped-decorator]
    async def _classify(self, requests: list[PoolRequest]) -> list[Classification]:
        return await asyncio.to_thread(self._models.classify, requests)

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        return await self._service.handle(request)


def deploy(address: str, packed: Sequence[bytes], pool: PoolDeployment) -> None:
    """Start or change the application on the cluster at `address`; returns once it answers.

    Ray replaces replicas a few at a time. Raises ClusterError.
    """
    with _Cluster(address):
        with suppress(TimeoutError):  # Serve waits a minute for its proxies, which may start later
            serve.start(
                proxy_location="EveryNode",
                http_options={
                    "host": pool.host,
                    "port": pool.port,
                    "ssl_certfile": pool.tls_certificate,
                    "ssl_keyfile": pool.tls_key,
                },
                logging_config=_NO_ACCESS_LOG,
                controller_options=_PATIENT_CONTROLLER,
            )
        options = InferenceOptions(
            device=pool.device,  # type: ignore[arg-type]
            threads=max(1, int(pool.cpus)),
            batch=pool.batch,
        )
        replica: Any = ModelPool
        application = replica.options(
            num_replicas=None,
            autoscaling_config={
                "min_replicas": pool.min_replicas,
                "max_replicas": pool.max_replicas,
                "target_ongoing_requests": pool.target_requests,
            },
            max_ongoing_requests=2 * pool.batch,
            max_queued_requests=pool.queue,
            ray_actor_options={"num_cpus": pool.cpus, "num_gpus": pool.gpus},
            logging_config=_NO_ACCESS_LOG,
        ).bind(list(packed), options, pool)
        serve.run(application, name=pool.name, route_prefix="/")


def status(address: str, name: str) -> dict[str, Any]:
    """Return the state of the application and of its replicas. Raises ClusterError."""
    with _Cluster(address):
        found = serve.status().applications.get(name)
        if found is None:
            raise ClusterError(f"the cluster {address} runs no application {name}")
        return {
            "status": found.status.value,
            "message": found.message,
            "replicas": {
                deployment: dict(its.replica_states) for deployment, its in found.deployments.items()
            },
        }


def remove(address: str, name: str) -> None:
    """Stop the application. Raises ClusterError."""
    with _Cluster(address):
        serve.delete(name)


class _Cluster:
    """A connection to a cluster."""

    def __init__(self, address: str) -> None:
        self._address = address

    def __enter__(self) -> None:
        try:
            ray.init(self._address, log_to_driver=False, logging_level="error", namespace="serve")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"the Ray cluster {self._address} is out of reach: {first_line(error)}"
            ) from error

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        ray.shutdown()
        if isinstance(error, ray.exceptions.RayError | RuntimeError | TimeoutError):
            raise ClusterError(f"the Ray cluster {self._address} failed: {first_line(error)}") from error
