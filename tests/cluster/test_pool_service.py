"""A replica of the pool behind a real HTTP server, asked by the client of a line PC."""

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from monitor.cluster.pool_service import HostedModels, PoolRequest, PoolService
from monitor.errors import InferenceError
from monitor.inference.candidates import InferenceOptions
from monitor.inference.handle import Classification
from monitor.inference.local import LocalModel
from monitor.inference.pool_protocol import SCHEMA
from monitor.inference.remote import PoolClient, PoolOptions
from monitor.models.bundle import ModelBundle
from tests.support.pool_server import serve_in_thread

MODEL = "a" * 64
INPUTS = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)


async def brightness(request: PoolRequest) -> Classification:
    scores = request.inputs.mean(axis=(1, 2, 3)).astype(np.float32) / 255
    return Classification(scores, [None] * len(scores), [None] * len(scores))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_in_thread(PoolService({MODEL: (4, 6)}, brightness, "s3cret")) as address:
        yield address


def ask(
    url: str, model: str = MODEL, inputs: Any = INPUTS, token: str | None = "s3cret", threshold: float = 0.5
) -> Classification:
    with closing(PoolClient(PoolOptions(url, deadline=30, token=token))) as client:
        return client.classify(model, inputs, np.full(len(inputs), threshold))


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
        ({"threshold": 1.5}, "400: expected thresholds from 0 to 1"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_in_one_sentence(
    url: str, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceError, match=message) as caught:
        ask(url, **wrong)
    assert caught.value.cause == "pool-away"


def test_a_pool_of_another_schema_is_refused_in_one_sentence(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.inference.remote.PATH", "/v9/classify/")
    with pytest.raises(InferenceError, match=f"404: this pool speaks schema {SCHEMA}"):
        ask(url)


def test_the_pool_serves_https_to_clients_that_know_its_authority(tmp_path: Path) -> None:
    if not which("openssl"):
        pytest.skip("a certificate for the pool is made with openssl, which is missing")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    names = ["-subj", "/CN=pool", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            *names,
        ],
        check=True,
        capture_output=True,
    )
    service = PoolService({MODEL: INPUTS.shape[1:3]}, brightness, None)
    with serve_in_thread(service, ssl_keyfile=key, ssl_certfile=certificate) as url:
        options = PoolOptions(url, deadline=30, tls_ca=certificate)
        with closing(PoolClient(options)) as client:
            assert len(client.classify(MODEL, INPUTS, np.ones(len(INPUTS))).scores) == len(INPUTS)
        with pytest.raises(InferenceError, match="self-signed certificate"):
            ask(url)


def test_requests_of_several_line_pcs_in_one_pass_get_the_answers_of_the_local_model(
    small_bundle: ModelBundle,
) -> None:
    options = InferenceOptions(device="cpu", runtime="tensorflow", precision="fp32")
    hosted, local = HostedModels([small_bundle], options), LocalModel(small_bundle, options)
    local.load()
    inputs = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    inputs[::2] //= 4
    thresholds = np.array([0.0, 0.0, 1.0, 0.0, 1.0])
    sha256 = small_bundle.card.model.sha256
    requests = [PoolRequest(sha256, inputs[it], thresholds[it]) for it in np.split(np.arange(5), [1, 3])]
    for request, answer in zip(requests, hosted.classify(requests), strict=True):
        expected = local.classify(request.inputs, request.thresholds)
        np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-6)
        assert [it is None for it in answer.evidence] == [it is None for it in expected.evidence]
        for image, heat, evidence in zip(request.inputs, answer.evidence, expected.evidence, strict=True):
            if evidence is not None:
                shown = local.explain(image, evidence, lambda: False)
                np.testing.assert_allclose(heat.heatmap, shown.heatmap, atol=1e-3)
    assert np.ptp(local.classify(inputs).scores) > 1e-4
