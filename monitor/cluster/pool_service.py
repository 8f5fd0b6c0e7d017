"""What a replica of the pool does with a request: plain HTTP in, plain bytes out; Ray only carries it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from monitor.inference.candidates import InferenceOptions
from monitor.inference.handle import Classification
from monitor.inference.local import LocalModel
from monitor.inference.pool_protocol import PATH, SCHEMA, ProtocolError, decode_request, encode_answer
from monitor.models.bundle import ModelBundle


class PoolRequest(NamedTuple):
    """Inputs (b, h, w, 3) uint8 for `model` (its SHA-256), with heat from their `thresholds` (b,) on."""

    model: str
    inputs: NDArray[np.uint8]
    thresholds: NDArray[np.float64]


class HostedModels:
    """The loaded models of a replica, by SHA-256. Raises DeviceError or ModelError."""

    def __init__(self, bundles: Sequence[ModelBundle], options: InferenceOptions) -> None:
        self._models = {bundle.card.model.sha256: LocalModel(bundle, options) for bundle in bundles}
        for model in self._models.values():
            model.load()

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """The input size (height, width) of each model."""
        return {sha256: model.spec.input_size for sha256, model in self._models.items()}

    def classify(self, requests: Sequence[PoolRequest]) -> list[Classification]:
        """Answer requests, those for one model together. Evidence is heat without a forward pass."""
        answers: dict[int, Classification] = {}
        for sha256 in dict.fromkeys(request.model for request in requests):
            group = [at for at, request in enumerate(requests) if request.model == sha256]
            model = self._models[sha256]
            inputs = np.concatenate([requests[at].inputs for at in group])
            found = model.classify(inputs, np.concatenate([requests[at].thresholds for at in group]))
            heats = [
                None if evidence is None else model.explain(image, evidence, lambda: False)
                for image, evidence in zip(inputs, found.evidence, strict=True)
            ]
            start = 0
            for at in group:
                part = slice(start, start := start + len(requests[at].inputs))
                answers[at] = Classification(
                    found.scores[part], found.novelty[part], heats[part], found.kinds[part]
                )
        return [answers[at] for at in range(len(requests))]


class PoolService:
    """Checks requests for models of `sizes` (height, width), and encodes what `classify` answers.

    Everyone with the `token` may ask; without one, everyone may.
    """

    def __init__(
        self,
        sizes: Mapping[str, tuple[int, int]],
        classify: Callable[[PoolRequest], Awaitable[Classification]],
        token: str | None,
    ) -> None:
        self._sizes, self._classify, self._token = sizes, classify, token

    async def handle(self, request: Request) -> Response:
        """Answer one HTTP request."""
        if self._token and not hmac.compare_digest(
            request.headers.get("authorization", "").encode(), f"Bearer {self._token}".encode()
        ):
            return PlainTextResponse("the token is missing or wrong", 401)
        model = request.url.path.removeprefix(PATH)
        if request.method != "POST" or model == request.url.path:
            return PlainTextResponse(f"this pool speaks schema {SCHEMA}: POST {PATH}MODEL", 404)
        if model not in self._sizes:
            return PlainTextResponse(f"this pool does not hold the model {model[:12]}", 409)
        try:
            inputs, thresholds = decode_request(await request.body(), self._sizes[model])
        except ProtocolError as error:
            return PlainTextResponse(str(error), 400)
        answer = await self._classify(PoolRequest(model, inputs, thresholds))
        return Response(encode_answer(model, answer), media_type="application/octet-stream")
