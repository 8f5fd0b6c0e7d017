"""Read the metrics and health of a running daemon over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from monitor.errors import MonitorError

_PREFIX = "defect_monitor_"


class ScrapeError(MonitorError):
    """The daemon's metrics cannot be read; the text says why in one sentence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, with its labels."""

    labels: Mapping[str, str]
    value: float


Samples = Mapping[str, list[Sample]]
"""Samples by metric name without the prefix `defect_monitor_`."""


def scrape_metrics(address: str, timeout: float = 1.0) -> Samples:
    """Return all samples below `address`, such as `http://127.0.0.1:9464`. Raises ScrapeError."""
    text = _get(f"{address}/metrics", timeout)
    found: dict[str, list[Sample]] = {}
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            continue  # latency and trends are Grafana's
        for sample in family.samples:
            name = sample.name.removeprefix(_PREFIX)
            found.setdefault(name, []).append(Sample(sample.labels, sample.value))
    return found


def read_health(address: str, timeout: float = 1.0) -> dict[str, Any]:
    """Return what `/readyz` reports: `ok`, `cameras`, `degraded`. Raises ScrapeError."""
    found = json.loads(_get(f"{address}/readyz", timeout, accept_503=True))
    return dict(found)


def _get(url: str, timeout: float, *, accept_503: bool = False) -> str:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 (http, from the settings)
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            if accept_503 and error.code == 503:
                return error.read().decode()
        raise ScrapeError(f"{url} answers {error.code}") from error
    except (OSError, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = getattr(cause, "strerror", None) or str(cause)
        raise ScrapeError(f"{url} does not answer: {reason}") from error
