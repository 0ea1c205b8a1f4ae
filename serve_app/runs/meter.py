"""The meter: what a run spends while it works, in seconds and in USD, and the end of its work when a budget is gone."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from serve_app.core.errors import DeadlineExceeded, GreenlightError, InvalidInput
from serve_app.graph.record import Charge, Resources, StepRecord
from serve_app.graph.spec import RunPolicy
from serve_app.runs.ledger import Prices, Usage, cost_of, unpriced, usage_of, usd_per_s

T = TypeVar("T")


@dataclass(frozen=True)
class Spent:
    """What a run has spent: seconds of attempts, and USD (None: not all of it has a price)."""

    seconds: float
    usd: float | None


def spent_by(seconds: float, records: Iterable[StepRecord], prices: Prices) -> Spent:
    """Return what attempts of ``seconds`` in all, with these steps, have spent."""
    return Spent(seconds, cost_of([usage_of(record) for record in records], prices).usd)


def no_price(what: str) -> InvalidInput:
    """Return the refusal of a budget in USD where ``what`` has no price."""
    return InvalidInput("policy.budget_usd", f"it could not be kept: {what} has no price")


class Meter:
    """Counts what one attempt spends on top of what the run had ``spent``, and ends its work when a budget is gone.

    A step at work costs its seconds so far at the rate of what it holds, and what others have charged it, so the work
    ends when the money does and not when the step does. Belongs to one event loop.
    """

    def __init__(self, policy: RunPolicy, prices: Prices, spent: Spent) -> None:
        self._policy, self._prices, self._spent = policy, prices, spent
        self._usd = 0.0 if spent.usd is None else spent.usd
        self._fault = no_price("a step that is done") if self._is_counting and spent.usd is None else None
        self._running: dict[str, tuple[float, float]] = {}  # call -> USD per second, and since when
        self._charged: dict[str, float] = {}
        self._timer: asyncio.Timeout | None = None
        self._until_s: float | None = None

    @property
    def _is_counting(self) -> bool:
        return self._policy.budget_usd is not None

    async def within(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what ``work`` gives; cancel it when a budget is spent. Once per meter.

        Raises DeadlineExceeded naming the budget, and InvalidInput naming what has no price.
        """
        budget_s, now_s = self._policy.budget_s, asyncio.get_running_loop().time()
        if budget_s is not None:
            self._until_s = now_s + budget_s - self._spent.seconds
        self.check()
        try:
            async with asyncio.timeout_at(self._until_s) as self._timer:
                return await work()
        except TimeoutError:
            if self._timer is None or not self._timer.expired():
                raise
            raise self._reason() from None
        finally:
            self._timer = None

    def check(self) -> None:
        """Raise what `within` does if a budget is spent: no step may begin."""
        now_s = asyncio.get_running_loop().time()
        if self._left_s(now_s) <= 0 or self._left_usd(now_s) <= 0:
            raise self._reason()

    def began(self, call: str, held: Resources) -> None:
        """Count a ``call`` (any name of its own) from now on, at the rate of what its stage holds."""
        if not self._is_counting:
            return
        usage = Usage(call, 0.0, held.accelerator, held.gpus, held.cpus)
        rate = usd_per_s(usage, self._prices)
        if rate is None:
            self._fault = no_price(f"a second of {unpriced(held, self._prices)!r}")
        self._running[call] = rate or 0.0, asyncio.get_running_loop().time()
        self._aim()

    def charged(self, call: str, charge: Charge) -> None:
        """Count what a call pays to others."""
        if not self._is_counting:
            return
        if charge.usd is None:
            self._fault = no_price(repr(charge.what))
        self._charged[call] = self._charged.get(call, 0.0) + (charge.usd or 0.0)
        self._aim()

    def ended(self, call: str, record: StepRecord | None) -> None:
        """Count what a call has cost in the end instead; None when it never began."""
        self._running.pop(call, None)
        self._charged.pop(call, None)
        if not self._is_counting or record is None:
            return
        cost = cost_of([usage_of(record)], self._prices)
        if cost.usd is None:
            self._fault = no_price(f"something that {record.node} used")
        self._usd += cost.usd or 0.0
        self._aim()

    def _left_s(self, now_s: float) -> float:
        if self._policy.budget_s is None:
            return math.inf
        return self._policy.budget_s - self._spent.seconds if self._until_s is None else self._until_s - now_s

    def _left_usd(self, now_s: float) -> float:
        """What is left of the money; nothing, once something has no price."""
        if self._policy.budget_usd is None:
            return math.inf
        at_work = math.fsum(rate * (now_s - since_s) for rate, since_s in self._running.values())
        at_work += math.fsum(self._charged.values())
        return 0.0 if self._fault else self._policy.budget_usd - self._usd - at_work

    def _aim(self) -> None:
        """Set the timer to when the first budget will be spent at the present rate."""
        if self._timer is None or self._timer.expired():
            return
        now_s = asyncio.get_running_loop().time()
        left_usd, rate = self._left_usd(now_s), math.fsum(rate for rate, _ in self._running.values())
        ends = [] if self._until_s is None else [self._until_s]
        if left_usd <= 0:
            ends.append(now_s)
        elif rate > 0:
            ends.append(now_s + left_usd / rate)
        self._timer.reschedule(min(ends, default=None))

    def _reason(self) -> GreenlightError:
        if self._fault is not None:
            return self._fault
        if self._left_s(asyncio.get_running_loop().time()) <= 0:
            return DeadlineExceeded("budget_s", self._policy.budget_s or 0.0)
        return DeadlineExceeded("budget_usd", self._policy.budget_usd or 0.0)
