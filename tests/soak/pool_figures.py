"""Measure a pool on Ray Serve against the same model in this process: `python -m tests.soak.pool_figures`.

Everything runs on one machine. The model of this process has one thread, as each replica has. Both are
measured in turn, so that other work on the machine slows both.
"""

import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from monitor.inference.candidates import InferenceOptions
from monitor.inference.local import LocalModel
from monitor.inference.remote import PoolClient, PoolModel, PoolOptions
from monitor.models.bundle import load_bundle
from monitor.models.registry import resolve_model_path
from monitor.simulate.surface import SurfaceGenerator
from tests.support.daemon_process import free_port, wait_for
from tests.support.fake_model import FakeModel
from tests.support.ray_cluster import LIMIT, RayCluster

LINES, RATE = 4, 5.0
"""Simulated line PCs, and frames a second of each."""


OVERLOADING_LINES = 16
"""Lines that together offer twice what the pool can classify."""


class SimulatedLine:
    """Sends `rate` inputs a second, one at a time, and judges what the pool does not, at no cost."""

    def __init__(self, model: LocalModel, image: np.ndarray, url: str, rate: float, deadline: float) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.frames = 0
        deputy = FakeModel(model.spec)
        options = PoolOptions(url, deadline=deadline)
        self._model = PoolModel(model.spec, options, deputy, lambda outcome: self.outcomes.update([outcome]))
        self._model.load()
        self._image, self._rate = image, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / self._rate, time.monotonic())
            began = time.monotonic()
            assert len(self._model.classify(self._image).scores) == 1
            self.seconds.append(time.monotonic() - began)
            self.frames += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._model.close()


def run_lines(
    count: int, seconds: float, make: Callable[[], SimulatedLine], disturb: Callable[[], None] = lambda: None
) -> str:
    """Run lines for a while; every 10 s `disturb`. Returns what became of their frames."""
    lines = [make() for _ in range(count)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(10.0, max(0.0, end - time.monotonic())))
        disturb()
    for line in lines:
        line.stop()
    outcomes = sum((line.outcomes for line in lines), Counter[str]())
    frames = sum(line.frames for line in lines)
    taken = np.percentile([it for line in lines for it in line.seconds], [50, 99]) * 1e3
    return (
        f"{frames} frames: {dict(outcomes)}, unaccounted {frames - outcomes.total()}, "
        f"p50 {taken[0]:.0f} ms, p99 {taken[1]:.0f} ms"
    )


def throughput(ask: Callable[[], int], threads: int, seconds: float) -> float:
    """Return the inputs a second that `threads` get when each asks again and again."""
    counts, end = [0] * threads, time.monotonic() + seconds

    def run(index: int) -> None:
        while time.monotonic() < end:
            counts[index] += ask()

    workers = [threading.Thread(target=run, args=(index,)) for index in range(threads)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.monotonic() - began)


def memory(pids: list[int]) -> float:
    """Return the resident memory of processes in MB."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def processor_time(pids: list[int]) -> float:
    """Return the processor time of processes in seconds."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(it[11]) + int(it[12]) for it in stats) / os.sysconf("SC_CLK_TCK")


class PoolUnderTest:
    """A pool of the shipped model, and the same model in this process."""

    def __init__(self, folder: Path) -> None:
        bundle = load_bundle(resolve_model_path("dagm-class1"))
        self.model = LocalModel(bundle, InferenceOptions(device="cpu", threads=1))
        self.model.load()
        height, width = bundle.card.input_size
        self.image = SurfaceGenerator(1, height, width, textures=1).picture(0)[None]
        self.cluster, self._port = RayCluster(folder, cpus=4), free_port()
        self._url, self._config = f"http://127.0.0.1:{self._port}", folder / "pool.toml"
        self._clients = threading.local()

    def deploy(self, replicas: int) -> None:
        self._config.write_text(
            f'cluster = "{self.cluster.address}"\nport = {self._port}\nbatch = 2\nqueue = 4\n'
            f"min_replicas = {replicas}\nmax_replicas = {replicas}\n"
        )
        done = self.cluster.pool("deploy", "-c", self._config)
        assert done.returncode == 0, done.stderr

    def ask(self) -> int:
        """Have the pool classify one input, on a connection of this thread."""
        if not hasattr(self._clients, "client"):
            self._clients.client = PoolClient(PoolOptions(self._url, deadline=30))
        sha256 = self.model.card.model.sha256
        return len(self._clients.client.classify(sha256, self.image, np.ones(1)).scores)

    def ask_here(self, count: int) -> int:
        return len(self.model.classify(np.repeat(self.image, count, axis=0), np.ones(count)).scores)

    def line(self, rate: float) -> SimulatedLine:
        return SimulatedLine(self.model, self.image, self._url, rate, deadline=0.5)

    def kill_replica(self) -> None:
        for pid in self.cluster.replicas()[:1]:
            os.kill(pid, signal.SIGKILL)


def measure_overhead(pool: PoolUnderTest) -> None:
    times: dict[str, list[float]] = {"here": [], "pool": []}
    for _ in range(120):
        for name, ask in (("here", lambda: pool.ask_here(1)), ("pool", pool.ask)):
            began = time.perf_counter()
            ask()
            times[name].append(time.perf_counter() - began)
    for name, taken in times.items():
        middle, high = np.percentile(taken[20:], [50, 95]) * 1e3
        print(f"one input, {name}: p50 {middle:.1f} ms, p95 {high:.1f} ms", flush=True)


def measure_throughput(pool: PoolUnderTest) -> float:
    """Return the inputs a second of the pool."""
    pairs, names, inputs = [], ("ProxyActor", "ServeReplica"), 0.0
    spent = dict.fromkeys(names, 0.0)
    for _ in range(4):
        here = throughput(lambda: pool.ask_here(8), 1, 6)
        before = [processor_time(pool.cluster.actors(name)) for name in names]
        pairs.append((here, throughput(pool.ask, 4, 6)))
        inputs += 6 * pairs[-1][1]
        for name, start in zip(names, before, strict=True):
            spent[name] += processor_time(pool.cluster.actors(name)) - start
        print(f"inputs a second: here {here:.1f} in batches of 8, pool {pairs[-1][1]:.1f}", flush=True)
    print(f"throughput of the pool over here: {np.median([it / here for here, it in pairs]):.2f}", flush=True)
    for name, seconds in spent.items():
        print(f"processor time of {name}: {seconds / inputs * 1e3:.1f} ms an input", flush=True)
    return float(np.median([it for _, it in pairs]))


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        pool = PoolUnderTest(Path(folder))
        try:
            pool.cluster.start()
            pool.deploy(1)
            measure_overhead(pool)
            rate = 2 * measure_throughput(pool) / OVERLOADING_LINES
            before = memory(pool.cluster.replicas())
            print(f"twice the capacity, {OVERLOADING_LINES} lines of {rate:.1f} inputs/s:", flush=True)
            print(run_lines(OVERLOADING_LINES, 30, lambda: pool.line(rate)), flush=True)
            print(
                f"replica: {before:.0f} MB before, {memory(pool.cluster.replicas()):.0f} MB after", flush=True
            )
            pool.deploy(2)
            wait_for(lambda: len(pool.cluster.replicas()) == 2, LIMIT)
            print(f"one of two replicas killed every 10 s, {LINES} lines of {RATE:g} inputs/s:", flush=True)
            print(run_lines(LINES, 60, lambda: pool.line(RATE), pool.kill_replica), flush=True)
        finally:
            pool.cluster.kill()


if __name__ == "__main__":
    main()
