"""Simulate a pool and its line PCs: `python -m tests.soak.pool_simulation`.

First the runs that `tests.soak.pool_figures` measured, with the costs that it measured, to see how far the
simulation can be trusted; then plants that no machine here carries. Time is that of simpy, not of a clock.

Simulated: each line PC has one request under way, of what has arrived since the last one. A node's proxy
passes requests on one at a time, to the replica with fewer requests of two drawn at random. A replica
takes up to `batch` requests into a pass, which costs each input the same. A line PC that has waited for
its deadline takes its request back, unless its pass has begun. Not simulated: links, autoscaling, and
what a line PC computes itself.
"""

import random
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import simpy

from monitor.inference.remote import _EFFICIENT_BATCH, _LATE_IN_A_ROW, _RETRY_AFTER

Steps = Generator[simpy.Event, Any, None]


@dataclass(frozen=True)
class Plant:
    """`lines` of `rate` frames/s each, and a pool. All costs and times are seconds.

    `service` is what an input takes in a replica, `proxy` what a request takes in the proxy of a node. Each
    of `killed` is when a replica ends; it comes back `restart` later.
    """

    lines: int
    rate: float
    deadline: float
    replicas: int
    nodes: int = 1
    service: float = 0.038 / 8
    proxy: float = 0.0042
    batch: int = 8
    queue: int = 64
    seconds: float = 20.0
    killed: Sequence[float] = ()
    restart: float = 20.0


@dataclass(eq=False)
class Request:
    """Inputs of a line PC on their way; `done` succeeds with whether they were answered."""

    inputs: int
    done: simpy.Event
    given_up: bool = False


@dataclass(eq=False)
class Replica:
    """Requests that wait in a replica, and whether it runs."""

    arrived: simpy.Event
    waiting: list[Request] = field(default_factory=list)
    in_pass: list[Request] = field(default_factory=list)
    runs: bool = True

    @property
    def under_way(self) -> int:
        return len(self.waiting) + len(self.in_pass)


class Simulation:
    """Runs a plant; `outcomes` counts frames, `delays` are those from their arrival to their verdict."""

    def __init__(self, plant: Plant, seed: int = 1) -> None:
        self.plant, self.outcomes, self.delays = plant, Counter[str](), list[float]()
        self.computed = 0
        self._random, self._env = random.Random(seed), simpy.Environment()
        self._proxies = [simpy.Resource(self._env) for _ in range(plant.nodes)]
        self._queued = [list[Request]() for _ in range(plant.nodes)]
        self._replicas = [Replica(self._env.event()) for _ in range(plant.replicas)]

    def run(self) -> "Simulation":
        for replica in self._replicas:
            self._env.process(self._serve(replica))
        for index in range(self.plant.lines):
            self._env.process(self._line(index % self.plant.nodes))
        for moment in self.plant.killed:
            self._env.process(self._kill(moment))
        self._env.run(self.plant.seconds)
        return self

    def _line(self, node: int) -> Steps:
        env, plant = self._env, self.plant
        due, late, away_until = self._random.random() / plant.rate, 0, 0.0
        while True:
            yield env.timeout(max(0.0, due - env.now))
            count = min(_EFFICIENT_BATCH, 1 + int((env.now - due) * plant.rate))
            arrived = [due + index / plant.rate for index in range(count)]
            due += count / plant.rate
            outcome = "away"
            if env.now >= away_until:
                request = Request(count, env.event())
                env.process(self._pass_on(request, node))
                yield request.done | env.timeout(plant.deadline)
                answered = request.done.value if request.done.triggered else None
                request.given_up = answered is None
                outcome = "answered" if answered else "busy"
                late = late + 1 if answered is None else 0
                if late >= _LATE_IN_A_ROW:
                    outcome, away_until = "away", env.now + _RETRY_AFTER
            self.outcomes[outcome] += count
            self.delays += [env.now - moment for moment in arrived]

    def _pass_on(self, request: Request, node: int) -> Steps:
        with self._proxies[node].request() as turn:
            yield turn
            yield self._env.timeout(self.plant.proxy)
        self._queued[node] = [it for it in self._queued[node] if not it.given_up]
        if not self._assign(request):
            if len(self._queued[node]) >= self.plant.queue:
                request.done.succeed(False)
            else:
                self._queued[node].append(request)

    def _assign(self, request: Request) -> bool:
        running = [it for it in self._replicas if it.runs]
        if not running:
            return False
        drawn = self._random.sample(running, min(2, len(running)))
        replica = min(drawn, key=lambda it: it.under_way)
        if replica.under_way >= 2 * self.plant.batch:
            return False
        replica.waiting.append(request)
        if not replica.arrived.triggered:
            replica.arrived.succeed()
        return True

    def _serve(self, replica: Replica) -> Steps:
        while True:
            replica.waiting = [it for it in replica.waiting if not it.given_up]
            for queue in self._queued:
                while queue and (queue[0].given_up or self._assign(queue[0])):
                    queue.pop(0)
            if not (replica.runs and replica.waiting):
                replica.arrived = self._env.event()
                yield replica.arrived
                continue
            replica.in_pass = replica.waiting[: self.plant.batch]
            del replica.waiting[: self.plant.batch]
            inputs = sum(it.inputs for it in replica.in_pass)
            yield self._env.timeout(inputs * self.plant.service)
            self.computed += inputs
            for request in replica.in_pass:  # none, if the replica was killed meanwhile
                request.done.succeed(True)
            replica.in_pass = []

    def _kill(self, moment: float) -> Steps:
        yield self._env.timeout(moment)
        replica = self._random.choice([it for it in self._replicas if it.runs])
        replica.runs = False
        for request in (*replica.waiting, *replica.in_pass):
            request.done.succeed(False)
        replica.waiting, replica.in_pass = [], []
        yield self._env.timeout(self.plant.restart)
        replica.runs = True

    def summary(self) -> str:
        total = self.outcomes.total()
        shares = ", ".join(f"{name} {count / total:.3f}" for name, count in sorted(self.outcomes.items()))
        middle, high = np.percentile(self.delays, [50, 99]) * 1e3
        return f"{total} frames: {shares}; p50 {middle:.0f} ms, p99 {high:.0f} ms; computed {self.computed}"


def main() -> None:
    measured = Plant(16, 1.24, 0.5, 1, service=0.1, proxy=0.0128, batch=2, queue=4, seconds=30)
    print(f"twice the capacity, as measured:\n  {Simulation(measured).run().summary()}")
    saturated = Simulation(replace(measured, lines=4, rate=100.0, deadline=30.0)).run()
    print(f"four connections without a pause: {saturated.computed / measured.seconds:.1f} inputs/s")
    print("cameras of 15 frames/s, two a line PC; replicas of 8 cores:")
    for lines, replicas, nodes in ((5, 1, 1), (50, 9, 8), (500, 90, 79)):
        plant = Plant(lines, 30.0, 0.2, replicas, nodes)
        print(
            f"{2 * lines} cameras, {replicas} replicas on {nodes} nodes: {Simulation(plant).run().summary()}"
        )
        killed = replace(plant, killed=[5.0] * -(-replicas // 10))
        print(f"  a tenth of the replicas killed for 20 s: {Simulation(killed).run().summary()}")
        fewer = replace(plant, nodes=-(-nodes // 2))
        print(f"  half the proxies: {Simulation(fewer).run().summary()}")
    narrow = Plant(5, 30.0, 0.2, 8, 1, service=0.038)
    print(f"10 cameras, 8 replicas of one core: {Simulation(narrow).run().summary()}")


if __name__ == "__main__":
    main()
