"""How a set of adapters is applied: as the operator says, or as the set's own use so far pays for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

Way = Literal["unfused", "baked"]
WayWanted = Annotated[
    Literal["auto", "unfused", "baked"],
    Field(
        description="`unfused`: any mix, slower steps, the same bytes always. `baked`: the base's speed, slow to "
        "change the set, copies of the changed weights in host memory. `auto`: baked once a set is in use for long."
    ),
]
"""What `Weights.adapters` of a generator may say."""
BudgetBytes = Annotated[int, Field(ge=0, description="Memory for loaded adapters; the last used are kept.")]
"""What `Weights.adapter_bytes` of a generator may say."""

DEFAULT_BUDGET_BYTES = 16 * 2**30

PASSES_TO_BAKE = 16
"""Passes of the model with one set after which it is baked. Whoever buys once the rent paid has reached the price never
pays more than twice the least (Karlin et al., "Competitive Snoopy Caching", Algorithmica 3, 1988). On a CPU the price
is reached after 3 passes over 512 tokens (`break_even_passes` in `bench/results/adapter_swap.jsonl`); from a GPU,
copies of the weights cross a bus too, so this is two renders of 8 steps."""


class Wears(Protocol):
    """The `Weights` of a generator that takes adapters."""

    @property
    def adapters(self) -> Literal["auto", "unfused", "baked"]:
        """How they are applied."""

    @property
    def adapter_bytes(self) -> int:
        """Memory for those that stay loaded."""


@dataclass(frozen=True)
class Choice:
    """How one render's set is applied, and why, for the report."""

    way: Way
    why: str


class Policy:
    """Chooses for every render, from what its set is and how long the same set has been worn in a row."""

    def __init__(self, wanted: Literal["auto", "unfused", "baked"]) -> None:
        self._wanted = wanted
        self._last: tuple[Any, ...] = ()
        self._passes = 0
        self._obstacle: str | None = None

    def choose(self, identity: tuple[Any, ...]) -> Choice:
        """Return the choice for the set ``identity`` (files and strengths; empty for the base)."""
        if self._wanted != "auto":
            return Choice(self._wanted, "as configured")
        if self._obstacle is not None:
            return Choice("unfused", self._obstacle)
        if not identity or identity != self._last:
            return Choice("unfused", "another set than before")
        count = f"worn for {self._passes} passes in a row"
        return Choice("baked", count) if self._passes >= PASSES_TO_BAKE else Choice("unfused", count)

    def worn(self, identity: tuple[Any, ...], passes: int) -> None:
        """Count ``passes`` of the model with the set; any other set, the base too, begins the count again."""
        self._passes = passes + (self._passes if identity == self._last else 0)
        self._last = identity

    def forbid(self, obstacle: str) -> None:
        """Bake no more when it is left to choose: ``obstacle`` says why it is impossible."""
        self._obstacle = obstacle
