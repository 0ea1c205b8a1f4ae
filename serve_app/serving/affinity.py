"""Which replica has a set of adapters at hand: a hint to Serve's router, and never more than a hint.

A call that wears adapters carries the digest of its set. A replica says that it has seen a digest by a token, which
holds nothing: the tensors are the stage's own affair, counted, budgeted and never let go while they are in use. (Serve
itself would call `__del__` of what it evicts in the middle of a request that uses it, and knows no bytes.)
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.core import digest
from serve_app.core.adapter import Adapters, WantedAdapters
from serve_app.graph.callers import Call

MOST_SETS = 64
"""Tokens of one replica; beyond them, it forgets the least lately used."""


class Affine:
    """What a replica inherits to be found again by whoever wants the same adapters."""

    @serve.multiplexed(max_num_models_per_replica=MOST_SETS)  # type: ignore[untyped-decorator]
    async def _token(self, set_id: str) -> str:  # the only such method: of two, Serve would silently run the first
        return set_id

    async def remember(self) -> None:
        """Tell Serve that the set of the call at hand is here, if it has one."""
        if set_id := serve.get_multiplexed_model_id():
            await self._token(set_id)


def toward(handle: DeploymentHandle, call: Call) -> DeploymentHandle:
    """Return ``handle`` for a replica that has the call's adapters at hand, if one is free; else for any."""
    set_id = set_of(call)
    return handle.options(multiplexed_model_id=set_id) if set_id else handle


def set_of(call: Call) -> str:
    """Return the digest of the adapters that a call wears or asks for, whatever their order and strengths; "" for none.

    Strengths are left out: they decide what is computed, and not what must be loaded for it.
    """
    ports = call.step.deployment.contract.ports
    words = sorted(word for port, value in call.values.items() for word in _words(ports[port].type, value))
    return digest.of_bytes("\n".join(words).encode()) if words else ""


def _words(kind: type, value: Any) -> list[str]:
    if kind is Adapters:
        return [" ".join((item.digest, *item.parts)) for item in value.items]
    if kind is WantedAdapters:
        wanted = value if isinstance(value, WantedAdapters) else WantedAdapters.parse(value)
        return [item.name for item in wanted.items]
    return []
