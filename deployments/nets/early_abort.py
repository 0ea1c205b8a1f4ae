"""What a generator of clips offers for giving up a hopeless attempt early. No torch in here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from serve_app.core.errors import InvalidInput
from serve_app.core.stage import Strict

_AT = 0.5

EARLY_ABORT = {
    "early_abort": "callback_on_step_end, which raises; what is made of a hopeful attempt is the same to the bit",
    "early_abort_at": "callback_on_step_end; refused while early_abort is off",
}
"""What a family's `mapping` says of the params."""


class EarlyAbort(Strict):
    """The params of it. It is off unless asked for: its thresholds were set without a trained model, see `outlook`."""

    early_abort: Literal["off", "on"] = Field(
        "off", description="`on`: give up an attempt that is not finite, flat, or nothing like its image; try the next."
    )
    early_abort_at: float | None = Field(
        None, ge=0, lt=1, description="Share of the steps from which on it is looked at: 0.5."
    )

    @property
    def abort_from(self) -> float | None:
        """The share of the steps from which on to look; None: not at all."""
        if self.early_abort == "off":
            return None
        return _AT if self.early_abort_at is None else self.early_abort_at


def check_early_abort(params: EarlyAbort) -> None:
    """Raise InvalidInput naming `early_abort_at` where it would have no effect."""
    if params.early_abort == "off" and params.early_abort_at is not None:
        raise InvalidInput("early_abort_at", "has an effect only with early_abort on")
