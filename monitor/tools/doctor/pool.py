"""The pool that classifies for this machine."""

import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from monitor.errors import InferenceError, UsageError
from monitor.inference.remote import PoolClient, PoolOptions
from monitor.models.card import ModelCard
from monitor.tools.doctor.result import CheckResult, failed, ok

_PATIENCE = 10.0
"""Seconds that the check waits for an answer, so that it can tell a slow pool from a silent one."""


def check_pool(options: PoolOptions, card: ModelCard) -> CheckResult:
    """Check that the pool answers for the model of `card`, within the deadline."""
    blank, seconds = np.zeros((1, *card.input_size, 3), np.uint8), 0.0
    try:
        with closing(PoolClient(replace(options, deadline=_PATIENCE))) as client:
            for _ in range(2):  # the first request also connects
                began = time.monotonic()
                client.classify(card.model.sha256, blank, np.ones(1))
                seconds = time.monotonic() - began
    except (InferenceError, UsageError) as error:
        remedy = "start the pool with `defect-monitor pool deploy`, or correct the keys inference.pool_…"
        return failed("pool", f"{options.url}: {error}", remedy)
    figures = {"classify_ms": round(seconds * 1e3, 2)}
    message = f"{options.url} answers for {card.name} in {seconds * 1e3:.0f} ms"
    if seconds > options.deadline:
        return failed("pool", message, f"set inference.pool_deadline above {options.deadline:g}", figures)
    return ok("pool", message, figures)
