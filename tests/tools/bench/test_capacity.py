"""What a machine carries: no more than its cores, threads and disk allow, and the limit is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.models.bundle import ModelBundle
from monitor.settings import Settings, parse_settings
from monitor.tools.bench.capacity import HEADROOM, Costs, capacity, measure_capacity

SECONDS = st.floats(1e-5, 1.0)


@given(
    SECONDS, SECONDS, SECONDS, SECONDS, st.booleans(), st.floats(0.1, 60), st.floats(0, 1), st.integers(1, 64)
)
def test_one_camera_more_would_exceed_the_cores_or_a_stage(  # noqa: PLR0917
    capture: float,
    network: float,
    explanation: float,
    delivery: float,
    on_cpu: bool,
    rate: float,
    event_rate: float,
    cores: int,
) -> None:
    found = capacity(
        Costs(capture, network, explanation, delivery, on_cpu), rate=rate, event_rate=event_rate, cores=cores
    )
    events = rate * event_rate

    def fits(cameras: int) -> bool:
        frames = cameras * rate
        used = frames * capture + cameras * events * explanation + (frames * network if on_cpu else 0)
        single = [cameras * events * explanation, cameras * events * delivery]
        single += [] if on_cpu else [frames * network]
        return used <= HEADROOM * cores * (1 + 1e-6) and max(single) <= HEADROOM * (1 + 1e-6)

    assert fits(found.cameras)
    assert found.cameras == 1_000_000 or not fits(found.cameras + 1)
    assert found.limit in {stage.stage for stage in found.stages}


@pytest.mark.parametrize(
    ("costs", "limit"),
    [
        (Costs(0.05, 0.02, 0.01, 0.01), "decode and check"),
        (Costs(0.005, 0.04, 0.01, 0.01), "network"),
        (Costs(0.001, 0.002, 0.5, 0.01), "explanation"),
        (Costs(0.001, 0.002, 0.01, 0.5), "delivery"),
        (Costs(0.001, 0.04, 0.01, 0.01, network_on_cpu=False), "network"),
    ],
)
def test_the_stage_that_limits_is_named(costs: Costs, limit: str) -> None:
    assert capacity(costs, rate=15, event_rate=0.5, cores=8).limit == limit


def test_what_was_not_measured_is_not_listed() -> None:
    found = capacity(Costs(0.01, 0.02, 0.01, delivery=0), rate=15, event_rate=0, cores=2)
    assert [stage.stage for stage in found.stages] == ["decode and check", "network"]
    with pytest.raises(ValueError, match="no stage"):
        capacity(Costs(0, 0, 0, 0), rate=15, event_rate=0.5, cores=2)


def two_cameras(folder: Path, model: str = "dagm-class1") -> Settings:
    text = f"""
    model.path = "{model}"
    outbox.path = "{folder / "outbox.db"}"
    [[camera]]
    name = "a"
    source = "simulate:?size=128x128"
    fps = 10
    [[camera]]
    name = "b"
    source = "simulate:?size=128x128"
    tiles = [1, 2]
    fps = 20
    """
    return parse_settings(text, "line.toml", {})


def test_the_costs_of_a_configuration_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.tools.bench.capacity._ROUNDS", 2)
    found = measure_capacity(two_cameras(tmp_path))
    assert (found.configured, found.rate) == (2, 15)
    costs = {stage.stage: stage.milliseconds for stage in found.stages}
    assert all(costs.values())
    assert costs["network"] > costs["decode and check"]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras and NumPy 2
def test_a_lower_rate_carries_more_cameras(tmp_path: Path, small_bundle: ModelBundle) -> None:
    settings = two_cameras(tmp_path, str(small_bundle.path))
    found = measure_capacity(settings)
    assert measure_capacity(settings, rate=1e-3).cameras > found.cameras
