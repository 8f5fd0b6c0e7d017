"""A hundred changes of the model at 30 frames a second.

`pytest -m soak -s tests/soak/test_hot_swap.py` prints the figures; `SWAPS` is another number of changes,
`FPS` another rate, for processors that carry less. `SMALL=1` takes a network of one layer.
"""

import json
import os
import re
import time
from pathlib import Path

import pytest

from monitor.models.store import CURRENT, ModelStore
from monitor.telemetry.histograms import histogram_quantile
from tests.support.daemon_process import DaemonUnderTest, coverage_of, run_daemon, write_config
from tests.support.hot_swap import PLAIN, accounted, reload
from tests.support.model_copies import SHIPPED, copy_network

SWAPS = int(os.environ.get("SWAPS", "100"))
SMALL = "SMALL" in os.environ
CAMERA = (
    '[[camera]]\nname = "line"\nsource = "simulate:?seed=5&defect_rate=0.05&size=256x256"\n'
    f"fps = {os.environ.get('FPS', '30')}\n"
)
BUCKET = re.compile(r'^defect_monitor_verdict_seconds_bucket\{camera="line",le="(.+)"\} (.+)$', re.MULTILINE)


def verdicts(daemon: DaemonUnderTest) -> dict[float, float]:
    """How many verdicts took at most so many seconds."""
    return {float(border): float(count) for border, count in BUCKET.findall(daemon.get("/metrics")[1])}


def p99(before: dict[float, float], after: dict[float, float]) -> float:
    return histogram_quantile({border: after[border] - before[border] for border in after}, 0.99)


@pytest.mark.soak
def test_a_hundred_changes_lose_no_frame_and_no_memory(
    tmp_path: Path, valkey: str, port: int, request: pytest.FixtureRequest
) -> None:
    store = ModelStore(tmp_path / "store")
    bundle = request.getfixturevalue("small_bundle").path if SMALL else SHIPPED
    versions = [store.add(bundle), store.add(copy_network(tmp_path / "other", bundle))]
    # Beside the model, so that the graphs of the shipped one and its copy are built once and not in each run.
    cache = {"CACHE_DIRECTORY": str(bundle / ".ready")}
    more = f'[model]\npath = "{store.root / CURRENT}"\n{PLAIN}'

    def swap(number: int) -> None:
        store.promote(versions[number % 2], lambda _: None)
        reload(daemon, "settings reloaded")

    store.promote(versions[0], lambda _: None)
    config = write_config(tmp_path, CAMERA, url=valkey, port=port, more=more)
    with run_daemon(config, port, environment=cache) as daemon:
        daemon.ready()
        for number in range(1, 5):  # the graphs of both are cached, memory has settled
            swap(number)
        started = verdicts(daemon)
        time.sleep(60)
        usual = verdicts(daemon)
        memory = [daemon.metric("process_resident_memory_bytes")]
        began = time.monotonic()
        for number in range(5, 5 + SWAPS):
            swap(number)
            memory.append(daemon.metric("process_resident_memory_bytes"))
        seconds, after = time.monotonic() - began, verdicts(daemon)
        grown = memory[-1] - memory[0]
        assert json.loads(daemon.get("/readyz")[1])["degraded"] == []
        assert daemon.stop(60) == 0
    numbers = accounted(valkey)
    gaps = [it for it in coverage_of(valkey) if it["kind"] == "gap"]
    ratio = p99(usual, after) / p99(started, usual)
    print(
        f"\n{SWAPS} changes in {seconds:.0f} s, {len(numbers)} frames: "
        f"{len(set(range(max(numbers) + 1)) - set(numbers))} unaccounted, "
        f"{sum(int(it['frames']) for it in gaps)} dropped; p99 of verdicts {ratio:.2f} times the usual; "
        f"memory {grown / 1e6:+.0f} MB, every tenth change "
        f"{', '.join(f'{it / 1e6:.0f}' for it in memory[::10])} MB"
    )
    assert sorted(numbers) == list(range(len(numbers)))
    assert not {it["cause"] for it in gaps} & {"reload", "fault"}
    assert grown < 60e6
