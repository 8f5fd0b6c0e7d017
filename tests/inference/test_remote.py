"""A pool over real sockets that answers, refuses, is late, lies or is gone: one judge for each batch."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from monitor.errors import InferenceError, UsageError
from monitor.inference.handle import CAM_METHOD, FLOOR_METHOD, CamHeat, Classification, ModelHandle
from monitor.inference.pool_protocol import encode_answer
from monitor.inference.remote import PoolClient, PoolModel, PoolOptions
from tests.support.daemon_process import free_port
from tests.support.fake_model import SIZE, FakeModel, classification, spec_of

INPUTS = np.full((2, SIZE, SIZE, 3), 9, np.uint8)
FLOOR = CamHeat(np.ones((2, 2), np.float32), 3.0, FLOOR_METHOD, 5)
GOOD = encode_answer("0" * 64, Classification(np.float32([0.25, 0.75]), [None] * 2, [None, FLOOR]))
LOCAL = classification([0.1, 0.9])

Reply = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int, body: bytes) -> Reply:
    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return send


class ScriptedPool:
    """A server that answers each request with what `reply` does now."""

    def __init__(self, port: int = 0) -> None:
        self.reply: Reply = reply(200, GOOD)
        self.requests: list[tuple[str, int, str | None]] = []
        pool = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                pool.requests.append((self.path, len(body), self.headers.get("Authorization")))
                pool.reply(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def model_of(
    url: str, fallback: str = "local", *, clock: Callable[[], float] = time.monotonic, **options: object
) -> Iterator[tuple[PoolModel, list[str]]]:
    """A model that `url` runs, and what became of its batches."""
    outcomes: list[str] = []
    chosen = PoolOptions(url, **{"deadline": 5.0, **options})  # type: ignore[arg-type]
    deputy: ModelHandle | None = FakeModel(classify=lambda _: LOCAL) if fallback == "local" else None
    model = PoolModel(spec_of(), chosen, deputy, outcomes.append, clock)
    model.load()
    yield model, outcomes
    model.close()


@pytest.fixture
def pool() -> Iterator[ScriptedPool]:
    server = ScriptedPool()
    yield server
    server.close()


def test_the_pool_gets_the_bytes_of_the_inputs_and_its_answer_is_the_classification(
    pool: ScriptedPool,
) -> None:
    with model_of(pool.url, token="s3cret") as (model, outcomes):
        for _ in range(2):
            answer = model.classify(INPUTS)
    assert answer.scores.tolist() == [0.25, 0.75]
    expected = (f"/v1/classify/{'0' * 64}", 2 * 8 + INPUTS.nbytes, "Bearer s3cret")
    assert pool.requests == [expected] * 2
    assert outcomes == ["answered"] * 2


def test_heat_of_the_pool_is_refined_on_this_machine_while_there_is_time(pool: ScriptedPool) -> None:
    with model_of(pool.url) as (model, _):
        evidence = model.classify(INPUTS).evidence
        assert evidence[0] is None
        shown = model.explain(INPUTS[1], evidence[1], lambda: False)
        assert (shown.method, shown.peak) == (FLOOR_METHOD, 3.0)
        assert model.explain(INPUTS[1], evidence[1], lambda: True).method == CAM_METHOD


def test_without_a_deputy_the_heat_of_the_pool_is_shown(pool: ScriptedPool) -> None:
    with model_of(pool.url, "gap") as (model, _):
        shown = model.explain(INPUTS[1], model.classify(INPUTS).evidence[1], lambda: True)
        assert (shown.method, shown.peak) == (FLOOR_METHOD, 3.0)
        with pytest.raises(InferenceError, match="no heat"):
            model.explain(INPUTS[0], None)


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(GOOD[:10])
    handler.close_connection = True


def close_after(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(GOOD)
    handler.close_connection = True


def trickle(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    with suppress(OSError):  # the client does not wait for the end
        for _ in range(40):
            handler.wfile.write(b"x")
            time.sleep(0.05)


OTHER_MODEL = encode_answer("f" * 64, Classification(np.float32([0, 0]), [None] * 2, [None] * 2))
OTHER_SCHEMA = GOOD.replace(b'"schema": 1', b'"schema": 9')

FAILURES = {
    "refuses": (reply(503, b"full"), "pool-busy", 5.0),
    "refuses otherwise": (reply(429, b"full"), "pool-busy", 5.0),
    "trickles": (trickle, "pool-busy", 0.3),
    "lacks the model": (reply(409, b"this pool does not hold the model 000"), "pool-away", 5.0),
    "fails": (reply(500, b"Internal Server Error"), "pool-away", 5.0),
    "answers for another model": (reply(200, OTHER_MODEL), "pool-away", 5.0),
    "answers in another schema": (reply(200, OTHER_SCHEMA), "pool-away", 5.0),
    "answers with something else": (reply(200, b"<html>"), "pool-away", 5.0),
    "is cut off": (cut_off, "pool-away", 5.0),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_batch_that_the_pool_does_not_answer_has_one_judge(pool: ScriptedPool, failure: str) -> None:
    pool.reply, cause, deadline = FAILURES[failure]
    with model_of(pool.url, deadline=deadline) as (model, outcomes):
        assert model.classify(INPUTS) is LOCAL
        assert outcomes == [cause.removeprefix("pool-")]
        assert (model.problem is not None) == (cause == "pool-away")
    with (
        model_of(pool.url, "gap", deadline=deadline) as (model, _),
        pytest.raises(InferenceError) as caught,
    ):
        model.classify(INPUTS)
    assert caught.value.cause == cause


def test_a_pool_that_closes_the_connection_after_each_answer_is_used(pool: ScriptedPool) -> None:
    pool.reply = close_after
    with model_of(pool.url) as (model, outcomes):
        for _ in range(3):
            model.classify(INPUTS)
    assert outcomes == ["answered"] * 3


def test_a_late_answer_is_not_taken_for_that_of_the_next_batch(pool: ScriptedPool) -> None:
    release = threading.Event()
    other = encode_answer("0" * 64, Classification(np.float32([1, 1]), [None] * 2, [None] * 2))

    def late(handler: BaseHTTPRequestHandler) -> None:
        release.wait(10)
        with contextlib.suppress(BrokenPipeError):  # nobody waits any more
            reply(200, other)(handler)

    pool.reply = late
    with model_of(pool.url, deadline=0.3) as (model, _):
        assert model.classify(INPUTS) is LOCAL
        pool.reply = reply(200, GOOD)
        release.set()
        assert model.classify(INPUTS).scores.tolist() == [0.25, 0.75]


def test_a_pool_that_is_away_delays_one_batch_and_is_used_again_when_it_is_back() -> None:
    port, now = free_port(), [0.0]
    with model_of(f"http://127.0.0.1:{port}", clock=lambda: now[0]) as (model, outcomes):
        assert model.classify(INPUTS) is LOCAL
        pool = ScriptedPool(port)
        now[0] = 1.9
        assert model.classify(INPUTS) is LOCAL
        assert not pool.requests
        now[0] = 2.1
        assert model.classify(INPUTS).scores.tolist() == [0.25, 0.75]
        assert outcomes == ["away", "away", "answered"]
        assert model.problem is None
        pool.close()


def test_a_pool_that_is_late_twice_in_a_row_is_not_asked_for_a_while(pool: ScriptedPool) -> None:
    now = [0.0]
    pool.reply = trickle
    with model_of(pool.url, clock=lambda: now[0], deadline=0.05) as (model, outcomes):
        for _ in range(2):
            model.classify(INPUTS)
        asked = len(pool.requests)
        model.classify(INPUTS)
        assert len(pool.requests) == asked
        assert outcomes == ["busy", "away", "away"]


def test_a_certificate_that_cannot_be_read_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ca\.pem cannot be read"):
        PoolClient(PoolOptions("https://127.0.0.1:1", tls_ca=str(tmp_path / "ca.pem")))
