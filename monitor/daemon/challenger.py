"""Known frames that the daemon inspects as a test, beside the production.

A frame is prepared, classified and explained by the code, the settings and the model of its camera, in a
thread of its own. The device serves every verdict of the production first. No part that counts, publishes or
stores frames of the production learns of it.
"""

import logging
import threading
import time
from datetime import UTC, datetime

from monitor.capture.config import CaptureConfig
from monitor.daemon.cameras import CameraManager
from monitor.errors import DeliveryError, ImageError, UsageError
from monitor.events.challenge import ChallengeAnswer, ChallengeRequest
from monitor.events.event import EventModel, event_region
from monitor.imaging.files import decode_image
from monitor.inference.router import ModelRouter
from monitor.inference.scheduler import DeviceScheduler
from monitor.pipeline.explanation_stage import ExplanationStage
from monitor.pipeline.inference_stage import InferenceStage
from monitor.pipeline.interfaces import FlaggedFrame, SilentObserver, ignore
from monitor.records import Finding, Frame, Gap, Verdict
from monitor.redis_streams.address import RedisCredentials
from monitor.redis_streams.challenge import MAX_IMAGE_BYTES, ChallengeQueue
from monitor.telemetry.challenge_metrics import ChallengeMetrics
from monitor.telemetry.supervised_thread import SupervisedThread

logger = logging.getLogger(__name__)

_RETRY_AFTER = 1.0
"""Seconds until Redis is asked again after a failure."""

_CLOSE_TIMEOUT = 1.0
"""Seconds that a step on the device may take until the models are freed."""


class Challenger:
    """Answers the requests in `queue`, one at a time; explains as `explanation` is configured to."""

    def __init__(
        self,
        queue: ChallengeQueue,
        cameras: CameraManager,
        *,
        router: ModelRouter,
        explanation: ExplanationStage,
        scheduler: DeviceScheduler,
        daemon_id: str,
        metrics: ChallengeMetrics,
    ) -> None:
        self._queue, self._cameras, self._router = queue, cameras, router
        self._production, self._scheduler = explanation, scheduler
        self._daemon_id, self._metrics = daemon_id, metrics
        self._findings: list[Finding] = []
        self._explanation = ExplanationStage(
            explanation.config, lambda finding, *_: self._findings.append(finding), ignore, SilentObserver()
        )
        self._inspecting = threading.Lock()
        self._end = False
        self._is_reachable = True
        self._progressed_at = time.monotonic()
        self.thread = SupervisedThread("challenge", self, restart_after=1.0)

    @property
    def last_heartbeat(self) -> float:
        """Time of the last progress, on the monotonic clock in seconds."""
        return max(self._progressed_at, self._explanation.last_heartbeat)

    def set_access(self, url: str, access: RedisCredentials) -> None:
        """Use these credentials from the next request on; see `RedisConnection.set_access`."""
        self._queue.set_access(url, access)

    def start(self) -> None:
        """Start to answer."""
        self.thread.start()

    def close(self) -> None:
        """Stop to answer; a frame in hand gets no answer, and its step on the device ends first."""
        self._end = True
        self._explanation.skip_explanations()
        self._inspecting.acquire(timeout=_CLOSE_TIMEOUT)  # for good: no further frame is inspected

    def run(self) -> None:
        """Answer until `close`; runs in `thread`."""
        while not self._end:
            try:
                self._answer_next()
                self._is_reachable = True
            except DeliveryError as error:
                if error.permanent and self._is_reachable:  # the sender reports one that is only away
                    logger.warning("challenges are not answered: %s", error)
                self._is_reachable = False
                time.sleep(_RETRY_AFTER)
            self._progressed_at = time.monotonic()
        self._queue.close()

    def _answer_next(self) -> None:
        configs = self._cameras.configs
        if not configs:
            time.sleep(_RETRY_AFTER)
            return
        data = self._queue.take(list(configs))
        if data is None:
            return
        try:
            request, image = ChallengeRequest.from_bytes(data)
        except ValueError:
            logger.warning("challenge ignored: not a request of this version")
            return
        config = configs.get(request.camera)
        if config is None:
            logger.warning("challenge ignored: no such camera", extra={"camera": request.camera})
            return
        with self._inspecting, self._scheduler.in_background():
            answer = self._inspect(request, image, config.capture)
        self._metrics.inspected(answer.camera, answer.outcome)
        logger.info(
            "challenge",
            extra={
                "camera": answer.camera,
                "file": request.file,
                "outcome": answer.outcome,
                "score": answer.score,
                "why": answer.reason,
            },
        )
        self._queue.answer(request, answer)

    def _inspect(self, request: ChallengeRequest, data: bytes, config: CaptureConfig) -> ChallengeAnswer:
        """Prepare, classify and explain a frame; what fails is the reason why it is not inspected."""
        answer = ChallengeAnswer(
            camera=request.camera,
            daemon=self._daemon_id,
            inspected_at=datetime.now(UTC),
            outcome="not-inspected",
        )
        try:
            frame = _prepare(request, data, config)
            return self._classified(frame, answer)
        except (ImageError, UsageError) as error:
            return answer.model_copy(update={"reason": str(error)})
        except Exception as error:
            logger.exception("challenge failed", extra={"camera": request.camera})
            return answer.model_copy(update={"reason": f"inspecting it failed: {type(error).__name__}"})

    def _classified(self, frame: Frame, answer: ChallengeAnswer) -> ChallengeAnswer:
        verdicts: list[Verdict] = []
        flagged: list[FlaggedFrame] = []
        gaps: list[Gap] = []
        routing = self._router.routing
        InferenceStage(
            self._router,
            lambda it, _: flagged.append(it),
            gaps.append,
            SilentObserver(),
            on_verdict=lambda _, verdict: verdicts.append(verdict),
        ).process([frame], routing)
        if not verdicts:
            return answer.model_copy(update={"reason": gaps[0].detail or gaps[0].cause})
        (verdict,), spec = verdicts, routing.handle_for(frame.camera).spec
        answer = answer.model_copy(
            update={
                "outcome": "defect" if verdict.defective else "clean",
                "width": frame.image.shape[1],
                "height": frame.image.shape[0],
                "label": verdict.label,
                "score": round(verdict.score, 6),
                "threshold": round(verdict.threshold, 6),
                "model": EventModel(name=spec.name, sha256=spec.sha256),
                "recipe": routing.recipe,
            }
        )
        return self._located(flagged[0], answer) if flagged else answer

    def _located(self, flagged: FlaggedFrame, answer: ChallengeAnswer) -> ChallengeAnswer:
        self._explanation.configure(self._production.config)
        self._explanation.process(flagged)
        finding = self._findings.pop()
        return answer.model_copy(
            update={
                "method": finding.explanation.method,
                "reason": None if finding.regions else finding.explanation.reason,
                "regions": tuple(event_region(region) for region in finding.regions),
            }
        )


def _prepare(request: ChallengeRequest, data: bytes, config: CaptureConfig) -> Frame:
    """Decode, check and cut a frame as the capture process of its camera does.

    Raises ImageError or UsageError where it cannot be inspected.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise UsageError(f"{request.file}: {len(data)} bytes are more than {MAX_IMAGE_BYTES}")
    image = decode_image(data, request.file, bit_depth=config.bit_depth)
    boxes, inputs = config.cut_tiles(image)
    if (reason := config.unusable_reason(image)) is not None:
        raise ImageError(f"{request.file}: {reason}")
    return Frame(
        camera=request.camera,
        number=0,
        captured_at=datetime.now(UTC),
        monotonic=time.monotonic(),
        image=image,
        tile_boxes=boxes,
        tile_inputs=inputs,
        source_name=request.file,
        source_waits=True,
    )
