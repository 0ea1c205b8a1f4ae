"""Prometheus' text format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serve_app.telemetry.metrics import Family, exposition


def test_a_scrape_can_be_read_back() -> None:
    awkward = 'a "quoted"\nname\\'
    family = Family("runs_ended", "counter", "Runs that have ended.", ("pipeline",), {(awkward,): 3.0, ("b",): 1.5})
    (read,) = text_string_to_metric_families(exposition([family]).decode())
    assert (read.name, read.type, read.documentation) == ("greenlight_runs_ended", "counter", "Runs that have ended.")
    assert {sample.labels["pipeline"]: sample.value for sample in read.samples} == {awkward: 3.0, "b": 1.5}
    assert {sample.name for sample in read.samples} == {"greenlight_runs_ended_total"}


def test_a_gauge_without_labels_is_one_line() -> None:
    text = exposition([Family("runners", "gauge", "Runners.", (), {(): 2})]).decode()
    assert "greenlight_runners 2.0" in text.splitlines()
