"""The simulated pool keeps the books of the real one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.soak.pool_simulation import Plant, Simulation

ROOMY = Plant(lines=4, rate=5.0, deadline=0.5, replicas=2, service=0.01, seconds=10.0)


@given(
    st.builds(
        Plant,
        lines=st.integers(1, 12),
        rate=st.sampled_from([1.0, 5.0, 30.0]),
        deadline=st.sampled_from([0.05, 0.2]),
        replicas=st.integers(1, 3),
        nodes=st.integers(1, 2),
        service=st.sampled_from([0.002, 0.05]),
        batch=st.integers(1, 4),
        queue=st.integers(1, 4),
        seconds=st.just(3.0),
        killed=st.just([]) | st.just([1.0]),
        restart=st.just(1.0),
    )
)
def test_each_frame_has_one_outcome_and_no_request_outlives_its_deadline(plant: Plant) -> None:
    run = Simulation(plant).run()
    assert run.outcomes.total() == len(run.delays)
    assert run.outcomes["answered"] <= run.computed + 8 * plant.lines  # a pass ends before its line goes on
    # A frame waits for the request before its own, then for its own, unless more frames come than fit.
    if plant.rate * plant.deadline <= 8:
        assert max(run.delays, default=0.0) <= 2 * plant.deadline + 1e-9


def test_a_pool_with_room_answers_all() -> None:
    assert set(Simulation(ROOMY).run().outcomes) == {"answered"}


def test_the_only_replica_is_missed_until_it_is_back() -> None:
    outcomes = Simulation(replace(ROOMY, replicas=1, killed=[2.0], restart=4.0)).run().outcomes
    assert outcomes["away"] > outcomes["busy"] > 0
    assert outcomes["answered"] > 60  # of 200, in six of ten seconds
