"""Which seed a request without one gets, and who says so: the word stands in the run beside the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.core.optimal_seeds import DEFAULT, OptimalSeed
from serve_app.graph.plan import Plan
from serve_app.http.service import Address

CALLER, ENDPOINT, PIPELINE, DRAWN = "caller", "the endpoint's default", "the pipeline's default", "drawn"


@dataclass(frozen=True)
class Seeding:
    """``inputs`` to add to a request, and the seed's ``origin``; None for a pipeline that takes no seed."""

    inputs: Mapping[str, int]
    origin: str | None


def seeding(
    plan: Plan,
    source: str,
    given: Mapping[str, Any],
    table: Mapping[str, OptimalSeed],
    address: Address | None = None,
) -> Seeding:
    """Return the first attempt's seed: the caller's; the table's for the address, then for the pipeline; the address's
    default, then the pipeline's; the table's `_default`; else one drawn from ``source``, 32 bits of its sha256, so that
    a repeated PUT of a run draws the same.
    """
    name = plan.seed_input
    if name is None:
        return Seeding({}, None)
    if any(given.get(key) is not None for key in (name, *plan.inputs[name].aliases)):
        return Seeding({}, CALLER)
    path, own = (None, None) if address is None else (address.path, address.seed)
    entry = table.get(path or plan.name) or table.get(plan.name)
    if entry is None and own is not None:
        return Seeding({name: own}, ENDPOINT)
    if entry is None and plan.inputs[name].default is not None:
        return Seeding({}, PIPELINE)
    entry = entry or table.get(DEFAULT)
    if entry is not None:
        return Seeding({name: entry.seed}, f"optimal: {entry.provenance}")
    return Seeding({name: _draw(source)}, DRAWN)


def drawn(plan: Plan, source: str, given: Mapping[str, Any]) -> Seeding:
    """Return the caller's seed, else the one drawn from ``source``, whatever the pipeline or a table would prefer.

    For pipelines that are compared: they need the same seed, and one of them must not bring its best.
    """
    name = plan.seed_input
    if name is None:
        return Seeding({}, None)
    if any(given.get(key) is not None for key in (name, *plan.inputs[name].aliases)):
        return Seeding({}, CALLER)
    return Seeding({name: _draw(source)}, DRAWN)


def _draw(source: str) -> int:
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:4], "big")
