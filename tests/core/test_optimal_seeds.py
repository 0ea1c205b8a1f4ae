"""The table of seeds: every lookup, its provenance, and the caller's word above it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve_app.core.errors import Misconfigured
from serve_app.core.optimal_seeds import (
    OPTIMAL_SEEDS,
    Measurement,
    OptimalSeed,
    optimal_seed,
    read_seeds,
    write_seeds,
)


@pytest.mark.parametrize(
    ("endpoint", "seed", "is_measured"),
    [
        ("/flux", 12345, True),
        ("/flux-dev", 12345, False),
        ("/qwen-image-2512", 1374878599, True),
        ("/qwen-image-2512-fast", 1374878599, True),
        ("/z-image-simple", 12345, False),
        ("/z-image-danrisi", 12345, False),
        ("/wan2.6", 42, False),
        ("/wan2.6-i2v", 42, False),
        ("/wan22-i2v", 42, False),
        ("_default", 12345, False),
    ],
)
def test_an_endpoints_seed_and_whether_anyone_measured_it(endpoint: str, seed: int, is_measured: bool) -> None:
    found = optimal_seed(endpoint)
    assert (found.seed, found.is_measured) == (seed, is_measured)
    assert found.provenance.startswith("measured n=") or found.provenance == "unmeasured"


def test_these_are_all() -> None:
    assert len(OPTIMAL_SEEDS) == 10


def test_an_endpoint_without_a_seed_of_its_own_gets_the_default() -> None:
    assert optimal_seed("/never-heard-of") == OPTIMAL_SEEDS["_default"]


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_callers_seed_wins(seed: int) -> None:
    found = optimal_seed("/flux", given=seed)
    assert (found.seed, found.provenance, found.is_measured) == (seed, "given by the caller", False)


def test_a_seed_measured_on_another_endpoint_says_so() -> None:
    assert "on /qwen-image-2512-fast" in optimal_seed("/qwen-image-2512").provenance


# --- tables in files


def test_a_table_is_read_as_it_was_written_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "seeds.json"
    write_seeds(path, {"one": OptimalSeed(seed=7, provenance="measured n=5 on 2026-01-31: x")})
    write_seeds(path, {"two": OptimalSeed(seed=9), "_default": OptimalSeed(seed=1)})
    assert {name: (each.seed, each.is_measured) for name, each in read_seeds(path).items()} == {
        "one": (7, True),
        "two": (9, False),
        "_default": (1, False),
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Invalid JSON"),
        ("{}", "version"),
        ('{"version": 2, "seeds": {}}', "version"),
        ('{"version": 1, "seeds": {"a": {"seed": -1}}}', "seeds.a.seed"),
        ('{"version": 1, "seeds": {"a": {"seed": 1, "provenance": "trust me"}}}', "seeds.a.provenance"),
        ('{"version": 1, "seeds": {"a": {"sed": 1}}}', "seeds.a.sed"),
    ],
)
def test_a_file_that_is_no_table_is_refused_and_left_alone(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "seeds.json"
    path.write_text(text)
    with pytest.raises(Misconfigured, match=re.escape(words)):
        read_seeds(path)
    with pytest.raises(Misconfigured):
        write_seeds(path, {"one": OptimalSeed(seed=7)})
    assert path.read_text() == text


def test_a_file_that_is_not_there_is_a_misconfiguration(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        read_seeds(tmp_path / "none.json")


def test_a_measurement_is_told_in_the_words_of_the_table() -> None:
    told = Measurement(12, "2026-01-31", "animatic", "fidelity", 96.13, 4.28, 9).provenance()
    assert told == (
        "measured n=12 on 2026-01-31: model animatic, judge fidelity, mean 96.1, 4.3 ahead of the next of 9 others"
    )
    assert OptimalSeed(seed=7, provenance=told).is_measured
