"""The pool on a real Ray Serve: the same scores, and no frame without a judge while its parts die."""

import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
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


LINES, RATE = 16, 5.0
"""Line PCs, and frames a second of each."""


FIGURES = Path(__file__).parents[2] / "build" / "pool.md"


class Pool:
    """A pool of two replicas, one on each of two nodes, that holds the small bundle."""

    def __init__(self, folder: Path, bundle: ModelBundle) -> None:
        self.cluster, self.bundle, self.config = RayCluster(folder, cpus=1), bundle, folder / "pool.toml"
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.config.write_text(
            f'cluster = "{self.cluster.address}"\nmodels = ["{bundle.path}"]\nport = {port}\n'
            'token = "s3cret"\n'
            "min_replicas = 2\nmax_replicas = 2\ncpus = 1\n"
        )

    def start(self) -> None:
        self.cluster.start()
        self.cluster.add_node()
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
    """A line PC that classifies one input after another, and compares each score. Every third is flagged."""

    def __init__(self, pool: Pool, local: LocalModel) -> None:
        self.outcomes: list[str] = []
        self.judged, self.wrong = 0, 0
        self._stop = threading.Event()
        options = PoolOptions(pool.url, deadline=1, token="s3cret")
        self._model = PoolModel(local.spec, options, local, self.outcomes.append)
        self._expected = local.classify(INPUTS).scores
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / RATE, time.monotonic())
            at, flagged = self.judged % len(INPUTS), self.judged % 3 == 0
            image = INPUTS[at : at + 1]
            answer = self._model.classify(image, np.array([0.0 if flagged else 1.0]))
            self.wrong += abs(float(answer.scores[0]) - self._expected[at]) > 1e-4
            if flagged:
                heat = self._model.explain(image[0], answer.evidence[0], lambda: False)
                self.wrong += not np.isfinite(heat.heatmap).all()
            self.judged += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        self._model.close()


class Lines:
    """All line PCs."""

    def __init__(self, pool: Pool, local: LocalModel) -> None:
        self._all = [LinePc(pool, local) for _ in range(LINES)]

    def seconds_until(self, outcome: str, count: int = 5) -> float:
        """Wait until each line has had so many more of an outcome; return how long that took."""
        began, before = time.monotonic(), [line.outcomes.count(outcome) for line in self._all]
        pairs = list(zip(self._all, before, strict=True))
        wait_for(lambda: all(it.outcomes.count(outcome) >= count + start for it, start in pairs), LIMIT)
        return time.monotonic() - began

    def stop(self) -> Counter[str]:
        """Stop them, hold them to an outcome and a right score for each frame, and count the outcomes."""
        for line in self._all:
            line.stop()
        for line in self._all:  # the first one frees the model of all
            line.close()
        assert [len(line.outcomes) for line in self._all] == [line.judged for line in self._all]
        assert not any(line.wrong for line in self._all)
        return sum((Counter(line.outcomes) for line in self._all), Counter())


def test_each_frame_has_a_judge_while_replicas_a_node_and_the_head_are_killed(
    pool: Pool, local: LocalModel
) -> None:
    lines, cluster = Lines(pool, local), pool.cluster
    taken: dict[str, float] = {}
    try:
        lines.seconds_until("answered")
        for number in range(1, 4):
            os.kill(cluster.replicas()[number % 2], signal.SIGKILL)
            taken[f"replica {number}"] = lines.seconds_until("answered")
            wait_for(lambda: len(cluster.replicas()) == 2, LIMIT)
            time.sleep(10)
        cluster.kill_node()
        taken["node"] = lines.seconds_until("answered")
        cluster.add_node()
        wait_for(lambda: len(cluster.replicas()) == 2, LIMIT)
        cluster.kill()
        lines.seconds_until("away", 1)
        pool.start()
        taken["head, after its pool is deployed again"] = lines.seconds_until("answered")
    finally:
        outcomes = lines.stop()
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(
        f"{LINES} lines, {RATE:g} frames/s each: {outcomes.total()} frames, {dict(outcomes)}.\n"
        "Seconds until each line had five more answers of the pool after the kill of a\n"
        + "".join(f"- {part}: {seconds:.1f}\n" for part, seconds in taken.items())
    )
