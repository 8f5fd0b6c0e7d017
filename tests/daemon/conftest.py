"""Fixtures of the tests that run a whole daemon."""

import pytest

from tests.support.daemon_process import free_port


@pytest.fixture
def port() -> int:
    """A port free right now."""
    return free_port()
