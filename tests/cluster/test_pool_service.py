"""A replica of the pool behind a real HTTP server, asked by the client of a line PC."""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from monitor.cluster.pool_service import HostedModels, PoolRequest, PoolService
from monitor.errors import InferenceError
from monitor.inference.candidates import InferenceOptions
from monitor.inference.handle import ModelSpec
from monitor.inference.local import LocalModel
from monitor.inference.pool_protocol import PoolAnswer
from monitor.inference.remote import PoolClient, PoolOptions
from monitor.models.bundle import ModelBundle
from tests.support.daemon_process import free_port

MODEL = "a" * 64
INPUTS = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


async def brightness(request: PoolRequest) -> PoolAnswer:
    await asyncio.sleep(0)
    scores = request.inputs.mean(axis=(1, 2, 3)).astype(np.float32) / 255
    count = len(scores)
    return PoolAnswer(scores, [None] * count, [], [None] * count)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    service = PoolService({MODEL: (4, 6)}, brightness, "s3cret")
    app = Starlette(routes=[Route("/{path:path}", service.handle, methods=["GET", "POST"])])
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def ask(url: str, model: str = MODEL, inputs: Any = INPUTS, token: str | None = "s3cret") -> PoolAnswer:
    with closing(PoolClient(PoolOptions(url, deadline=30, token=token))) as client:
        return client.classify(model, inputs, 0.5)


def test_inputs_reach_a_replica_as_they_are(url: str) -> None:
    assert ask(url).scores == pytest.approx(INPUTS.mean(axis=(1, 2, 3)) / 255)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"token": None}, "401: the token is missing or wrong"),
        ({"token": "guess"}, "401: the token is missing or wrong"),
        ({"model": "b" * 64}, "409: this pool does not hold the model bbbbbbbbbbbb"),
        ({"inputs": INPUTS[:, :3]}, "400: expected 1 to 1024 inputs of 6x4 pixels"),
        ({"inputs": INPUTS[:0]}, "400: expected 1 to 1024 inputs of 6x4 pixels"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_one_sentence(
    url: str, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceError, match=message) as caught:
        ask(url, **wrong)
    assert caught.value.cause == "pool-away"


def test_the_service_names_its_models_to_those_with_the_token(url: str) -> None:
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": "Bearer s3cret"})
    with urllib.request.urlopen(request) as answer:
        assert f'"{MODEL}":[4,6]' in answer.read().decode().replace(" ", "")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{url}/v1/models")


def test_requests_of_several_line_pcs_in_one_pass_get_what_the_local_model_says(
    toy_bundle: ModelBundle,
) -> None:
    options = InferenceOptions(device="cpu", runtime="tensorflow", precision="fp32")
    hosted = HostedModels([toy_bundle], options)
    sha256 = toy_bundle.card.model.sha256
    random = np.random.default_rng(3)
    inputs = random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    parts = (inputs[:1], inputs[1:3], inputs[3:])
    requests = [
        PoolRequest(sha256, threshold, it) for it, threshold in zip(parts, (0.0, 0.0, 1.0), strict=True)
    ]
    answers = hosted.answer(requests)
    for request, answer in zip(requests, answers, strict=True):
        local = LocalModel(toy_bundle, options, ModelSpec.from_card(toy_bundle.card, request.threshold))
        local.load()
        expected = local.classify(request.inputs)
        np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-5)
        assert [heat is None for heat in answer.heats] == [each is None for each in expected.evidence]
        for image, heat, evidence in zip(request.inputs, answer.heats, expected.evidence, strict=True):
            if heat is not None:
                shown = local.explain(image, evidence, lambda: False)
                np.testing.assert_allclose(heat.heatmap, shown.heatmap, atol=1e-3)
