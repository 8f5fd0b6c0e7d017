"""A pool that answers, lacks the model, or is not there."""

import numpy as np
import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from monitor.cluster.pool_service import PoolRequest, PoolService
from monitor.inference.handle import Classification
from monitor.inference.remote import PoolOptions
from monitor.tools.doctor.pool import check_pool
from tests.support.daemon_process import free_port
from tests.support.pool_server import serve_in_thread
from tests.support.tiny_models import card_of

CARD = card_of()


async def clean(request: PoolRequest) -> Classification:
    count = len(request.inputs)
    return Classification(np.zeros(count, np.float32), [None] * count, [None] * count)


def test_a_pool_is_ok_if_it_answers_for_the_model_in_time() -> None:
    with serve_in_thread(PoolService({CARD.model.sha256: CARD.input_size}, clean, None)) as url:
        found = check_pool(PoolOptions(url, deadline=10), CARD)
        assert (found.result, found.name) == ("ok", "pool")
        late = check_pool(PoolOptions(url, deadline=1e-9), CARD)
        assert (late.result, late.remedy) == ("not ok", "set inference.pool_deadline above 1e-09")


def test_a_pool_that_lacks_the_model_or_is_not_there_is_not_ok() -> None:
    with serve_in_thread(PoolService({}, clean, None)) as url:
        found = check_pool(PoolOptions(url), CARD)
        assert found.result == "not ok"
        assert "does not hold the model 000000000000" in found.message
    found = check_pool(PoolOptions(f"http://127.0.0.1:{free_port()}"), CARD)
    assert found.result == "not ok"
    assert "the pool cannot be reached" in found.message
