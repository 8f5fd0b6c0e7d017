"""What a replica of the pool does with a request: plain HTTP in, plain bytes out; Ray only carries it."""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from monitor import __version__
from monitor.inference.candidates import InferenceOptions
from monitor.inference.handle import ModelSpec
from monitor.inference.local import LocalModel
from monitor.inference.pool_protocol import SCHEMA, PoolAnswer, encode_answer
from monitor.models.bundle import ModelBundle

_PATH = re.compile(r"/v1/classify/([0-9a-f]{64})")
_MAX_INPUTS = 1024
_MAX_THRESHOLDS = 64
"""Thresholds for which a replica remembers a model; each shares the network of the others."""


@dataclass(frozen=True, slots=True, eq=False)
class PoolRequest:
    """Inputs (b, h, w, 3) uint8 of one line PC for `model` (its SHA-256), with heat from `threshold`."""

    model: str
    threshold: float
    inputs: NDArray[np.uint8]


Answer = Callable[[PoolRequest], Awaitable[PoolAnswer]]
"""Answers one request; gathers those that come at the same time into one pass."""


class HostedModels:
    """The loaded models of a replica, by SHA-256."""

    def __init__(self, bundles: Sequence[ModelBundle], options: InferenceOptions) -> None:
        self._bundles = {bundle.card.model.sha256: bundle for bundle in bundles}
        self._options = options
        self._models = {sha256: LocalModel(bundle, options) for sha256, bundle in self._bundles.items()}
        self._at_thresholds: dict[tuple[str, float], LocalModel] = {}
        for model in self._models.values():
            model.load()

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """The input size (height, width) of each model."""
        return {sha256: model.spec.input_size for sha256, model in self._models.items()}

    def answer(self, requests: Sequence[PoolRequest]) -> list[PoolAnswer]:
        """Answer requests, those for one model and threshold in one pass."""
        answers: dict[int, PoolAnswer] = {}
        for key in dict.fromkeys((request.model, request.threshold) for request in requests):
            group = [at for at, it in enumerate(requests) if (it.model, it.threshold) == key]
            inputs = np.concatenate([requests[at].inputs for at in group])
            whole = self._answer(self._model_at(*key), inputs)
            start = 0
            for at in group:
                part = slice(start, start + len(requests[at].inputs))
                answers[at] = PoolAnswer(
                    whole.scores[part], whole.novelty[part], whole.kinds[part], whole.heats[part]
                )
                start = part.stop
        return [answers[at] for at in range(len(requests))]

    def _answer(self, model: LocalModel, inputs: NDArray[np.uint8]) -> PoolAnswer:
        found = model.classify(inputs)
        heats = [
            None if evidence is None else model.explain(image, evidence, lambda: False)
            for image, evidence in zip(inputs, found.evidence, strict=True)
        ]
        return PoolAnswer(found.scores, found.novelty, found.kinds, heats)

    def _model_at(self, sha256: str, threshold: float) -> LocalModel:
        known = self._at_thresholds.get((sha256, threshold))
        if known is None:
            bundle = self._bundles[sha256]
            known = LocalModel(bundle, self._options, ModelSpec.from_card(bundle.card, threshold))
            known.share_network(self._models[sha256])
            while len(self._at_thresholds) >= _MAX_THRESHOLDS:
                del self._at_thresholds[next(iter(self._at_thresholds))]
            self._at_thresholds[sha256, threshold] = known
        return known


class PoolService:
    """Checks requests and encodes answers. Everyone with the `token` may ask; without one, everyone may."""

    def __init__(self, sizes: Mapping[str, tuple[int, int]], answer: Answer, token: str | None) -> None:
        self._sizes, self._answer, self._token = sizes, answer, token

    async def handle(self, request: Request) -> Response:
        """Answer one HTTP request."""
        if self._token and not hmac.compare_digest(
            request.headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()
        ):
            return PlainTextResponse("the token is missing or wrong", 401)
        path = request.url.path.removeprefix(request.scope.get("root_path", "").rstrip("/"))
        if path.rstrip("/").endswith("/v1/models"):
            return JSONResponse(
                {
                    "schema": SCHEMA,
                    "version": __version__,
                    "models": {it: list(at) for it, at in self._sizes.items()},
                }
            )
        match = _PATH.fullmatch(path)
        if match is None or request.method != "POST":
            return PlainTextResponse("POST /v1/classify/MODEL or GET /v1/models", 404)
        size = self._sizes.get(match[1])
        if size is None:
            return PlainTextResponse(f"this pool does not hold the model {match[1][:12]}", 409)
        asked = _read_request(match[1], request.query_params, await request.body(), size)
        if asked is None:
            return PlainTextResponse(f"expected 1 to {_MAX_INPUTS} inputs of {size[1]}x{size[0]} pixels", 400)
        answer = encode_answer(asked.model, await self._answer(asked))
        return Response(answer, media_type="application/octet-stream")


def _read_request(
    model: str, query: Mapping[str, str], body: bytes, size: tuple[int, int]
) -> PoolRequest | None:
    """Read a request for inputs of `size` (height, width); None where it is not one."""
    try:
        count, threshold = int(query["inputs"]), float(query["threshold"])
        inputs = np.frombuffer(body, np.uint8).reshape(count, *size, 3)
    except (KeyError, ValueError):
        return None
    fits = 1 <= count <= _MAX_INPUTS and 0 <= threshold <= 1
    return PoolRequest(model, threshold, inputs) if fits else None
