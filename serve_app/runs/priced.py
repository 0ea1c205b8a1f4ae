"""Whether a budget in USD can be kept: what a run would use must have a price, or there is nothing to compare with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from serve_app.graph.plan import Deployment, Plan
from serve_app.graph.record import Resources
from serve_app.graph.spec import RunPolicy
from serve_app.runs.ledger import Prices, unpriced
from serve_app.runs.meter import no_price

Holdings = Callable[[], Mapping[str, Iterable[Resources]]]
"""Returns what a replica of each deployment may hold, by its name; one that is not known is left out. May block."""


def nothing_known() -> Mapping[str, Iterable[Resources]]:
    """Return no holdings: prices are then first looked at when a step begins."""
    return {}


def check_priced(plan: Plan, policy: RunPolicy, prices: Prices, holdings: Holdings) -> None:
    """Raise InvalidInput naming `policy.budget_usd` when a step of ``plan`` would use what has no price.

    What cannot be known yet, such as the accelerator of a node that is still to come, is checked when a step begins.
    """
    if policy.budget_usd is None:
        return
    held = holdings()
    for deployment in {step.deployment.name: step.deployment for step in plan.steps}.values():
        strange = _strange(deployment)
        if strange is not None:
            raise no_price(f"{strange} ({deployment.name})")
        for each in held.get(deployment.name, ()):
            name = unpriced(each, prices)
            if name is not None:
                raise no_price(f"a second of {name!r} ({deployment.name})")


def _strange(deployment: Deployment) -> str | None:
    """Return what the stage says it would be charged for an unknown amount; see `core.stage`."""
    unpriced_by = getattr(deployment.stage, "unpriced", None)
    return None if unpriced_by is None else unpriced_by(deployment.weights)
