"""The table of seeds: every lookup, its provenance, and the caller's word above it."""

from __future__ import annotations

import pytest

from serve_app.core.optimal_seeds import OPTIMAL_SEEDS, optimal_seed


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
