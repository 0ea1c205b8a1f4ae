"""Adapters as the ingress sees them: through the configuration and a shared disk, without a replica and without torch.

A stage that resolves adapters says so by two static methods: ``catalogue(weights)``, the cards of all there are, and
``admit(weights, wanted, field)``, which raises for a name that nobody has and for a file whose header is wrong.
"""

from __future__ import annotations

from typing import Any

from serve_app.config import AppConfig, deployments_of
from serve_app.core.adapter import WantedAdapters
from serve_app.graph.plan import Bound


def cards_of(config: AppConfig) -> list[dict[str, Any]]:
    """Return the cards of every deployment that resolves adapters. A large file is read once, for its digest."""
    found = []
    for name, deployment in deployments_of(config).items():
        catalogue = getattr(deployment.stage, "catalogue", None)
        cards = catalogue(deployment.weights) if catalogue else ()
        found += [{"deployment": name, **card.as_json()} for card in cards]
    return found


def admit(bound: Bound) -> None:
    """Raise Unknown or BadAdapter for adapters of a request that need no base to be told wrong."""
    for step in bound.plan.steps:
        check = getattr(step.deployment.stage, "admit", None)
        for port, source in step.takes.items():
            given = bound.inputs.get(source.name) if source.is_input else None
            kind = step.deployment.contract.ports[port].type
            if check is not None and kind is WantedAdapters and given is not None:
                field = f"inputs.{source.name}"
                check(step.deployment.weights, WantedAdapters.parse(given, field), field)
