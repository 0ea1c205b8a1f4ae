"""What a run cost: seconds of an accelerator's share and of CPU cores, at a price table's rates. Pure functions.

    usd = seconds * (gpus * usd_per_s[accelerator] + cpus * usd_per_cpu_s) + what the call was charged elsewhere

Every attempt costs, the rejected ones too: the figure that matters is the cost per accepted clip. What has no price is
never counted as free: its cost is None, so is every sum with it, and a warning names it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from serve_app.core.errors import Misconfigured
from serve_app.core.stage import Strict
from serve_app.graph.record import Charge, Resources, StepRecord
from serve_app.runs.accelerators import priced_as

_Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_DIGITS = 9  # a millisecond of one core is 13 billionths of a dollar, and must not read as free

LIST_USD_PER_S = {
    "T4": 0.000164,
    "L4": 0.000222,
    "A10": 0.000306,
    "L40S": 0.000542,
    "A100-40": 0.000556,
    "A100-80": 0.000694,
    "H100": 0.001097,
}
"""USD per second of a whole accelerator, rented by the second: what the market asks, not what yours costs."""


class Prices(Strict):
    """A price table. The defaults are list prices; put your own in the configuration."""

    usd_per_s: dict[str, _Price] = LIST_USD_PER_S
    """USD per second of one whole accelerator, by its name; see `accelerators.priced_as` for what a name covers."""
    usd_per_cpu_s: _Price = 0.0000131
    """USD per core-second; about the public on-demand list price of a vCPU, 0.047 USD an hour."""
    fx: dict[str, _Rate] = {"KRW": 1450.0}
    """Units of another currency per USD, by its ISO 4217 code."""


@dataclass(frozen=True)
class Usage:
    """What one ``step`` (its node's name) held, and for how long: a share of an ``accelerator``, and CPU cores.

    ``gpus``: 1.0 is the whole device, 0 none. ``phase`` tells the calls of one node apart, such as the two passes of
    a two-stage generator; each is charged. ``charges`` are what the call paid to others, beside its time.
    """

    step: str
    seconds: float
    accelerator: str | None = None
    gpus: float = 0.0
    cpus: float = 0.0
    attempt: int = 1
    phase: str = ""
    charges: tuple[Charge, ...] = ()

    def __post_init__(self) -> None:
        for name in ("seconds", "gpus", "cpus"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} of {self.step} is 0 or more, not {value}")

    @property
    def charged_usd(self) -> float | None:
        """The sum of the charges; None when one of them is unknown."""
        return _total([charge.usd for charge in self.charges])


@dataclass(frozen=True)
class StepCost:
    """One step's ``usage``, its rate in USD per second (None where the table has no price), and what it cost."""

    usage: Usage
    usd_per_s: float | None

    @property
    def usd(self) -> float | None:
        """The rate times the seconds, and the charges; None when either is unknown."""
        seconds_usd = None if self.usd_per_s is None else self.usage.seconds * self.usd_per_s
        return _total([seconds_usd, self.usage.charged_usd])

    def as_json(self) -> dict[str, Any]:
        """Return the step's cost as JSON values, its usage among them."""
        rate = {"usd_per_s": _rounded(self.usd_per_s), "usd": _rounded(self.usd)}
        return {**vars(self.usage), "charges": [vars(charge) for charge in self.usage.charges], **rate}


@dataclass(frozen=True)
class Cost:
    """What some steps cost together: ``usd`` (None: not all of it has a price) and ``seconds``, summed over the steps.

    ``seconds`` is time held, not time passed: steps that ran side by side both count. ``fx`` is the table's.
    """

    usd: float | None
    seconds: float
    by_step: tuple[StepCost, ...]
    warnings: tuple[str, ...]
    fx: dict[str, float]

    def in_currency(self, currency: str) -> float | None:
        """Return the cost in ``currency`` (``USD`` or one of ``fx``), or None where it has no price.

        Raises Misconfigured naming ``prices.fx`` when the table does not know the currency.
        """
        rates = {"USD": 1.0, **self.fx}
        if currency not in rates:
            raise Misconfigured("prices.fx", f"there is no rate for {currency}; there is one for {', '.join(rates)}")
        return None if self.usd is None else self.usd * rates[currency]

    def as_json(self) -> dict[str, Any]:
        """Return the cost as JSON values: ``usd``, its ``amounts`` in other currencies, and every rate in effect."""
        return {
            "usd": _rounded(self.usd),
            "amounts": {currency: _rounded(self.in_currency(currency)) for currency in sorted(self.fx)},
            "seconds": round(self.seconds, 3),
            "fx": dict(self.fx),
            "by_step": [step.as_json() for step in self.by_step],
            "warnings": list(self.warnings),
        }


def usage_of(record: StepRecord, attempt: int = 1) -> Usage:
    """Return what one call of a step held, as the ledger takes it."""
    held = record.resources
    return Usage(
        step=record.node,
        seconds=record.seconds,
        accelerator=held.accelerator,
        gpus=held.gpus,
        cpus=held.cpus,
        attempt=attempt,
        charges=record.charges,
    )


def unpriced(held: Resources, prices: Prices) -> str | None:
    """Return the name of the accelerator that ``held`` is a share of, if it has no price; else None."""
    is_priced = usd_per_s(Usage("", 0.0, held.accelerator, held.gpus, held.cpus), prices) is not None
    return None if is_priced else str(held.accelerator)


def usd_per_s(usage: Usage, prices: Prices) -> float | None:
    """Return what a second of ``usage`` costs in USD, or None when its accelerator has no price."""
    cpu_usd_per_s = usage.cpus * prices.usd_per_cpu_s
    if usage.gpus == 0:
        return cpu_usd_per_s
    key = priced_as(usage.accelerator or "", prices.usd_per_s)
    if key not in prices.usd_per_s:
        return None
    return usage.gpus * prices.usd_per_s[key] + cpu_usd_per_s


def cost_of(usages: Sequence[Usage], prices: Prices) -> Cost:
    """Return what all steps of all attempts cost together."""
    steps = tuple(StepCost(usage, usd_per_s(usage, prices)) for usage in usages)
    return Cost(
        usd=_total([step.usd for step in steps]),
        seconds=math.fsum(usage.seconds for usage in usages),
        by_step=steps,
        warnings=tuple(_unknown(steps)),
        fx=dict(prices.fx),
    )


def per_accepted(usd: Sequence[float | None], accepted: int) -> float | None:
    """Return USD per accepted clip: what all runs cost, rejected ones too, over how many clips were accepted.

    None when nothing was accepted, or when one of the costs is unknown. Raises ValueError when ``accepted`` < 0.
    """
    if accepted < 0:
        raise ValueError(f"accepted is 0 or more, not {accepted}")
    total = _total(usd)
    return None if total is None or not accepted else total / accepted


def _unknown(steps: Sequence[StepCost]) -> Iterator[str]:
    """Say, once each, what has no price."""
    names = {str(step.usage.accelerator) for step in steps if step.usd_per_s is None}
    yield from (f"there is no price for a second of {name!r}, so the cost is unknown" for name in sorted(names))
    whats = {charge.what for step in steps for charge in step.usage.charges if charge.usd is None}
    yield from (f"nobody knows what {what!r} costs, so the cost is unknown" for what in sorted(whats))


def _total(usd: Sequence[float | None]) -> float | None:
    known = [each for each in usd if each is not None]
    return math.fsum(known) if len(known) == len(usd) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
