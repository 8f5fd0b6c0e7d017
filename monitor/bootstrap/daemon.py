"""Build the daemon from the settings: each part after the parts that it needs."""

from collections.abc import Callable
from functools import partial

from monitor import __version__
from monitor.bootstrap.cameras import camera_configs, create_camera
from monitor.bootstrap.delivery import (
    build_challenge_queue,
    build_leases,
    build_outbox_queue,
    build_preview,
    build_redis_sink,
    build_samples,
    build_stream_monitor,
    daemon_id,
    heartbeat_path,
    incidents,
)
from monitor.bootstrap.inference import build_router, explanation_config, pool_problems
from monitor.bootstrap.reload import SettingsReloader
from monitor.daemon.cameras import CameraFactory, CameraManager
from monitor.daemon.challenger import Challenger
from monitor.daemon.coverage import CoverageRecorder
from monitor.daemon.daemon import Daemon, DaemonParts
from monitor.daemon.delivery_metrics import DeliveryRecorder, OutboxMeter
from monitor.daemon.health import Health
from monitor.daemon.publisher import INCIDENTS, EventPublisher
from monitor.daemon.samples import SampleRecorder
from monitor.daemon.verdicts import VerdictRecorder
from monitor.delivery.outbox import Outbox
from monitor.delivery.sender import SinkSender
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import ignore
from monitor.pipeline.shadow_stage import ShadowStage
from monitor.redis_streams.preview import PreviewPublisher
from monitor.settings import Settings
from monitor.telemetry.challenge_metrics import ChallengeMetrics
from monitor.telemetry.heartbeat import HeartbeatFile
from monitor.telemetry.http_server import start_http_server
from monitor.telemetry.metrics import Metrics, create_registry
from monitor.telemetry.pool_metrics import count_pool_answers
from monitor.telemetry.process_metrics import WorkerProcessCollector, export_last_reload, export_standby
from monitor.telemetry.sample_metrics import SampleMetrics
from monitor.telemetry.stream_metrics import StreamBacklogCollector
from monitor.telemetry.supervised_thread import SupervisedThread
from monitor.telemetry.systemd import SystemdNotifier


def build_daemon(
    settings: Settings,
    reload_settings: Callable[[], Settings] | None = None,
    notifier: SystemdNotifier | None = None,
    *,
    metrics: Metrics | None = None,
    router: ModelRouter | None = None,
    camera_factory: CameraFactory = create_camera,
) -> Daemon:
    """Build a daemon that is not started. Raises MonitorError.

    It reads the model card, binds the port and opens the outbox file, so that wrong settings are reported
    before anything runs. `reload_settings` reads the settings again; `notifier` notifies the service manager.
    The other parameters replace a part: the metrics, the models, the camera factory.
    """
    scheduler = DeviceScheduler()
    metrics = metrics or Metrics(create_registry())
    on_pool_answer = ignore if settings.inference.pool is None else count_pool_answers(metrics.registry)
    router = router or build_router(settings, scheduler, on_pool_answer=on_pool_answer)
    metrics.build(__version__)
    metrics.add_labels({handle.spec.labels[1] for handle in router.handles})
    for camera in settings.camera:
        metrics.add_camera(camera.name)

    identity = daemon_id(settings)
    sink = build_redis_sink(settings, identity, metrics)
    queue = build_outbox_queue(settings, [sink.name])
    outbox = Outbox(queue, [SinkSender(sink, queue, DeliveryRecorder(metrics))])
    samples = shadow = None
    if settings.samples.publish:
        sample_metrics = SampleMetrics(metrics.registry)
        samples = build_samples(settings, sample_metrics)
        budget = settings.inference.shadow_budget
        shadow = ShadowStage(samples.on_difference, sample_metrics, scheduler, budget=budget)
    publisher = EventPublisher(
        outbox,
        incidents(settings, outbox.state(INCIDENTS)),
        identity,
        metrics,
        samples.on_event if samples else ignore,
    )
    leases = build_leases(settings, identity, publisher.on_conflict)
    meter = OutboxMeter(outbox, leases, metrics)
    stream_monitor = build_stream_monitor(settings)
    StreamBacklogCollector(metrics.registry, lambda: stream_monitor.latest)

    verdicts = VerdictRecorder(outbox, identity, metrics) if settings.verdicts.publish else None
    coverage = CoverageRecorder(metrics, publisher.publish_notice, verdicts.on_gap if verdicts else ignore)
    explanation = ExplanationStage(
        explanation_config(settings),
        publisher.publish,
        coverage.record,
        metrics,
        queue_bytes=settings.explain.queue_bytes,
    )
    inference = InferenceStage(
        router,
        explanation.put,
        coverage.record,
        metrics,
        batch=settings.inference.batch,
        is_backlogged=explanation.is_backlogged,
        on_verdict=verdicts.on_verdict if verdicts else ignore,
        on_clean=samples.on_clean if samples else ignore,
        on_shadowed=shadow.put if shadow else ignore,
    )
    preview = build_preview(settings)
    cameras = CameraManager(camera_factory, inference, coverage, metrics, viewer=preview)
    challenger = Challenger(
        build_challenge_queue(settings),
        cameras,
        router=router,
        explanation=explanation,
        scheduler=scheduler,
        daemon_id=identity,
        metrics=ChallengeMetrics(metrics.registry),
    )
    redis_clients: list[PreviewPublisher | Challenger | SampleRecorder] = [
        preview,
        challenger,
        *([samples] if samples else ()),
    ]
    background = [*redis_clients, *([shadow] if shadow else ())]
    WorkerProcessCollector(metrics.registry, cameras.pids)

    inference_thread = SupervisedThread("judge", inference)
    explanation_thread = SupervisedThread("report", explanation)
    health = Health(
        cameras,
        coverage,
        inspection=[inference_thread, explanation_thread],
        threads=[leases.thread, stream_monitor.thread, *(part.thread for part in background)],
        stopped_threads=outbox.stopped_threads,
        problems=[meter.problems, publisher.conflicts, partial(pool_problems, router)],
    )
    export_standby(metrics.registry, lambda: health.is_standby)
    export_last_reload(metrics.registry, lambda: health.reload_failure is None)
    http = start_http_server(
        settings.metrics.host,
        settings.metrics.port,
        registry=metrics.registry,
        liveness=health.liveness,
        readiness=health.readiness,
    )
    return Daemon(
        DaemonParts(
            configs=camera_configs(settings, router),
            cameras=cameras,
            coverage=coverage,
            router=router,
            inference=inference,
            inference_thread=inference_thread,
            explanation=explanation,
            explanation_thread=explanation_thread,
            outbox=outbox,
            outbox_meter=meter,
            sink_checks=[sink.check],
            publisher=publisher,
            verdicts=verdicts,
            leases=leases,
            stream_monitor=stream_monitor,
            background=background,
            metrics=metrics,
            health=health,
            http=http,
            heartbeat_file=HeartbeatFile(heartbeat_path(settings)),
            notifier=notifier or SystemdNotifier(),
            reload=SettingsReloader(
                settings,
                reload_settings or (lambda: settings),
                router=router,
                scheduler=scheduler,
                explanation=explanation,
                set_redis_access=[it.set_access for it in (sink, leases, stream_monitor, *redis_clients)],
                on_models_changed=lambda: metrics.models(router.descriptions()),
                on_recipe=publisher.publish_recipe,
                on_pool_answer=on_pool_answer,
            ),
        )
    )
