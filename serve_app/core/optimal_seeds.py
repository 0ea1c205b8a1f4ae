"""Seeds that did well, and how anyone knows: the shipped table, and tables in files, of the same shape.

One prompt and at most ten draws per endpoint: the best of so few is partly luck, so a table like the shipped one is a
starting point and a judge with retries the rule. The three video seeds were never measured at all. A caller's seed
always wins. `greenlight sweep --save-optimal` writes such a table from what it measured:

    {"version": 1, "seeds": {"animatic-fidelity": {"seed": 7, "provenance": "measured n=12 on 2026-01-31: ..."}}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from serve_app.core.errors import Misconfigured
from serve_app.core.stage import Strict

DEFAULT = "_default"
"""The entry for an endpoint or a pipeline that has none of its own."""

UNMEASURED = "unmeasured"
GIVEN = "given by the caller"

_MEASURED = "measured n="


class OptimalSeed(Strict):
    """A seed and its provenance."""

    seed: int = Field(ge=0, le=2**63 - 1, description="The seed of a run's first attempt.")
    provenance: Annotated[str, StringConstraints(pattern=rf"^({UNMEASURED}|{_MEASURED}\d+.*|{GIVEN})$")] = Field(
        UNMEASURED, description="`measured n=` and what was found, or `unmeasured`."
    )

    @property
    def is_measured(self) -> bool:
        """Whether somebody compared it with other seeds."""
        return self.provenance.startswith(_MEASURED)


class SeedTable(Strict):
    """What a file of seeds holds."""

    version: Literal[1] = Field(description="Of this format.")
    seeds: dict[str, OptimalSeed] = Field(description="By pipeline; `_default` is for all others.")


@dataclass(frozen=True)
class Measurement:
    """How a seed was found to be the best: over ``n`` pairs with every other, ``lead`` points ahead of the next."""

    n: int
    date: str
    """YYYY-MM-DD."""
    model: str
    judge: str
    mean: float
    lead: float
    others: int
    """How many seeds it was compared with."""

    def provenance(self) -> str:
        """Return the measurement as a table's entry says it."""
        what = f"model {self.model}, judge {self.judge}, mean {self.mean:.1f}"
        return f"{_MEASURED}{self.n} on {self.date}: {what}, {self.lead:.1f} ahead of the next of {self.others} others"


def _measured(seed: int, finding: str) -> OptimalSeed:
    return OptimalSeed(seed=seed, provenance=f"{_MEASURED}{finding}")


def _unmeasured(seed: int) -> OptimalSeed:
    return OptimalSeed(seed=seed)


OPTIMAL_SEEDS: Mapping[str, OptimalSeed] = {
    "/flux": _measured(12345, "3: score 95, sharpness 221 (2024020600: 90, 112; 1374878599: 85, 78)"),
    "/flux-dev": _unmeasured(12345),
    "/qwen-image-2512": _measured(1374878599, "2 on /qwen-image-2512-fast: score 100, sharpness 550"),
    "/qwen-image-2512-fast": _measured(1374878599, "2: score 100, sharpness 550 (12345: 95, 366)"),
    "/z-image-simple": _unmeasured(12345),
    "/z-image-danrisi": _unmeasured(12345),
    "/wan2.6": _unmeasured(42),
    "/wan2.6-i2v": _unmeasured(42),
    "/wan22-i2v": _unmeasured(42),
    DEFAULT: _unmeasured(12345),
}
"""By endpoint. ``n`` counts the seeds whose figures are on record."""


def optimal_seed(endpoint: str, given: int | None = None) -> OptimalSeed:
    """Return the seed for ``endpoint`` (``/flux``): the caller's if it is ``given``, also 0; else the table's."""
    if given is not None:
        return OptimalSeed(seed=given, provenance=GIVEN)
    return OPTIMAL_SEEDS.get(endpoint, OPTIMAL_SEEDS[DEFAULT])


def read_seeds(path: Path) -> dict[str, OptimalSeed]:
    """Return the table in a JSON file; raise Misconfigured naming the file and what is wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(str(path), f"cannot be read: {error}") from error
    try:
        return SeedTable.model_validate_json(text).seeds
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, each['loc'])) or 'value'}: {each['msg']}" for each in error.errors())
        raise Misconfigured(str(path), "; ".join(faults)) from error


def write_seeds(path: Path, found: Mapping[str, OptimalSeed]) -> None:
    """Put ``found`` into the table at ``path``, beside what it has for others; make it if it is missing.

    Raises Misconfigured when there is something else in that file, which is then left alone.
    """
    seeds = {**(read_seeds(path) if path.exists() else {}), **found}
    table = SeedTable(version=1, seeds=seeds)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(table.model_dump(), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)  # in one go: a server may be reading it
