"""What a run should cost and take at most: targets are held against it when it is over, and stop nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def missed(policy: Mapping[str, Any], usd: float | None, seconds: float) -> list[str]:
    """Return a sentence for every target of ``policy`` that a run of ``usd`` and ``seconds`` did not keep to.

    ``usd`` is None when the cost is unknown, and then nobody can say; that is said. A budget that ends a run is
    another thing: see `RunPolicy.budget_s` and `budget_usd`.
    """
    found = []
    max_usd, max_s = policy.get("max_cost_usd"), policy.get("max_seconds")
    if max_usd is not None and usd is None:
        found.append(f"target unknown: something has no price, so nobody can say whether it kept to {max_usd:g} USD")
    elif max_usd is not None and usd is not None and usd > max_usd:
        found.append(f"target missed: it cost {usd:.4g} USD, and max_cost_usd is {max_usd:g}")
    if max_s is not None and seconds > max_s:
        found.append(f"target missed: it took {seconds:.1f} s, and max_seconds is {max_s:g}")
    return found
