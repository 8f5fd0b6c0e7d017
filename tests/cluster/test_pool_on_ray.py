"""The pool on a real Ray Serve: the same scores, and no frame without a judge while its parts die."""

import json
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray.serve", reason="Ray is not installed (make test-scale installs it)")

from monitor.errors import InferenceError
from monitor.inference.candidates import InferenceOptions
from monitor.inference.local import LocalModel
from monitor.inference.remote import PoolClient, PoolModel, PoolOptions
from monitor.models.bundle import ModelBundle
from tests.support.daemon_process import free_port, wait_for
from tests.support.ray_cluster import LIMIT, RayCluster

pytestmark = pytest.mark.timeout(2400)

INPUTS = np.random.default_rng(3).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


class Pool:
    """A pool of two replicas that holds the small bundle."""

    def __init__(self, folder: Path, bundle: ModelBundle) -> None:
        self.cluster, self.bundle, self.config = RayCluster(folder), bundle, folder / "pool.toml"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.config.write_text(
            f'cluster = "{self.cluster.address}"\nmodels = ["{bundle.path}"]\nport = {port}\n'
            'token = "s3cret"\n'
            "min_replicas = 2\nmax_replicas = 2\ncpus = 0.5\n"
        )

    def start(self) -> None:
        self.cluster.start()
        done = self.cluster.pool("deploy", "-c", self.config)
        assert done.returncode == 0, done.stderr

    def client(self, token: str = "s3cret") -> PoolClient:
        return PoolClient(PoolOptions(self.url, deadline=10, token=token))


@pytest.fixture(scope="module")
def pool(small_bundle: ModelBundle) -> Iterator[Pool]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pool = Pool(Path(folder), small_bundle)
        try:
            pool.start()
            yield pool
        finally:
            pool.cluster.kill()


@pytest.fixture
def local(small_bundle: ModelBundle) -> LocalModel:
    model = LocalModel(small_bundle, InferenceOptions(device="cpu"))
    model.load()
    return model


def test_the_pool_answers_as_the_model_on_this_machine(pool: Pool, local: LocalModel) -> None:
    sha256, thresholds = pool.bundle.card.model.sha256, np.array([0.0, 1.0, 0.0, 1.0, 0.0])
    with closing(pool.client()) as client:
        for _ in range(3):  # the connection is kept
            answer = client.classify(sha256, INPUTS, thresholds)
        expected = local.classify(INPUTS, thresholds)
        np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-4)
        assert [it is None for it in answer.evidence] == [it is None for it in expected.evidence]
        with pytest.raises(InferenceError, match="409: this pool does not hold the model ffffffffffff"):
            client.classify("f" * 64, INPUTS, thresholds)
    with closing(pool.client("guess")) as client, pytest.raises(InferenceError, match="401"):
        client.classify(sha256, INPUTS, thresholds)
    done = pool.cluster.pool("status", "-c", pool.config)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["status"], found["replicas"]) == ("RUNNING", {"ModelPool": {"RUNNING": 2}})


class LinePc:
    """A line PC that classifies one input after another, and compares each score."""

    def __init__(self, pool: Pool, local: LocalModel) -> None:
        self.outcomes: list[str] = []
        self.judged, self.wrong = 0, 0
        self._stop = threading.Event()
        options = PoolOptions(pool.url, deadline=2, token="s3cret")
        self._model = PoolModel(local.spec, options, local, self.outcomes.append)
        self._model.load()
        self._expected = local.classify(INPUTS).scores
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            at = self.judged % len(INPUTS)
            score = float(self._model.classify(INPUTS[at : at + 1]).scores[0])
            self.wrong += abs(score - self._expected[at]) > 1e-4
            self.judged += 1

    def wait_for_more(self, outcome: str, count: int = 20) -> None:
        before = self.outcomes.count(outcome)
        wait_for(lambda: self.outcomes.count(outcome) >= before + count, LIMIT)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._model.close()


def test_each_frame_has_a_judge_while_replicas_and_the_head_are_killed(pool: Pool, local: LocalModel) -> None:
    line = LinePc(pool, local)
    try:
        line.wait_for_more("answered")
        os.kill(pool.cluster.replicas()[0], signal.SIGKILL)
        line.wait_for_more("answered")
        wait_for(lambda: len(pool.cluster.replicas()) == 2, LIMIT)
        pool.cluster.kill()
        line.wait_for_more("away")
        pool.start()
        line.wait_for_more("answered")
    finally:
        line.stop()
    assert line.judged == len(line.outcomes)
    assert line.wrong == 0
