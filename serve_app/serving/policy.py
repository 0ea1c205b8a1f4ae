"""A run's policy: the pipeline's own, with what the request changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serve_app.core.errors import InvalidInput
from serve_app.graph.plan import Plan
from serve_app.graph.spec import RunPolicy


def policy_of(plan: Plan, given: Mapping[str, Any]) -> RunPolicy:
    """Return the policy in effect; raise InvalidInput naming `policy.<name>`."""
    try:
        return RunPolicy.model_validate({**plan.policy.model_dump(), **given}, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(".".join(["policy", *map(str, first["loc"])]), first["msg"]) from error
