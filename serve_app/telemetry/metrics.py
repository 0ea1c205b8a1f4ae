"""Metrics as values, and as text in Prometheus' exposition format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX = "greenlight_"
MEDIA_TYPE = CONTENT_TYPE_LATEST

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Family:
    """One metric: ``name`` without prefix and `_total`, what it means, its labels' names, and a value per labels."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    labels: Labels
    values: Mapping[Labels, float]


def exposition(families: Iterable[Family]) -> bytes:
    """Return ``families`` as a scrape's body."""
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return generate_latest(registry)


class _Given(Collector):
    """Hands over what was given, as the library's own values."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        for family in self._families:
            make = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
            metric = make(PREFIX + family.name, family.meaning, labels=family.labels)
            for labels, value in sorted(family.values.items()):
                metric.add_metric(labels, value)
            yield metric
