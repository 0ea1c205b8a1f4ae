"""The outlook of an attempt: part-way through denoising, is there any hope left that it becomes a clip of its picture?

Where a flow-matching model moves latents on the straight line x = (1 - sigma) x0 + sigma noise (Lipman et al., Flow
Matching for Generative Modeling, 2023), a step from sigma to sigma' along its velocity v also says where the line ends:
x0 = x' - sigma' v, with v = (x' - x) / (sigma' - sigma). This needs nothing but the latents before and after a step. It
is exact for Euler steps, and near enough for those of higher order (UniPC). That estimate is blurred while noise is
high, but it has the picture's layout long before it has detail, so it is compared coarsely, at a quarter of its size.

The thresholds were set on synthetic trajectories of real clips, far from every legitimate one: `bench/early_abort.py`
says how, and what they miss. No trained model was looked at, which is why a look must be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional

from serve_app.core.errors import Rejected
from serve_app.core.media import Grid, VideoShape

DETECTOR = "early_abort"
CLEAREST_AT = 0.95
"""Noise level (0..1) above which an estimate is nothing but blur, and is not looked at."""
FLATTEST = 0.06
"""Deviation over the picture, of latents scaled to about 1, below which nothing is on it. Also as a share of the
picture's own, if that is flatter."""
STEEPEST = 8.0
"""Deviation over the picture, as a share of the picture's own (without one: of 1), above which it has blown up."""
LEAST_RELATED = 0.08
"""Coarse correlation with the input picture's latents, below which nothing of it is left."""
LEAST_SHOWN = 0.25
"""Deviation of the input picture's own latents below which it is too dark or flat to be told from noise part-way."""
_COARSE = 4

View = Callable[[torch.Tensor], torch.Tensor]
"""From a pipeline's latents to `(C, T, h, w)`."""


@dataclass(frozen=True)
class Sight:
    """What one look measured: deviation over the picture, that of the input picture's latents, and their correlation.

    None where there is no input picture.
    """

    spread: float
    own_spread: float | None = None
    relation: float | None = None


def as_it_is(latents: torch.Tensor) -> torch.Tensor:
    """View latents `(1, C, T, h, w)`."""
    return latents[0]


def unpacked(frames: int, height: int, width: int) -> View:
    """Return a view of latents packed as tokens `(1, frames * height * width, C)`; more behind them are keyframes'."""
    count = frames * height * width
    return lambda latents: latents[0, :count].reshape(frames, height, width, -1).permute(3, 0, 1, 2)


@dataclass(frozen=True)
class Look:
    """How to look: from the share ``at`` (0..1) of the steps on, through ``view``; how to find the input's latents.

    ``first``: the first frame of the latents that is made; those before are held at the input picture, or mean nothing.
    ``condition``: the name of the pipeline's variable that has the picture's latents as its last channels and first
    frame. None, with ``first`` above 0: the latents' own first frame. Neither: there is no picture.
    """

    at: float
    view: View = as_it_is
    first: int = 0
    condition: str | None = None


def look_of(at: float | None, grid: Grid, native: VideoShape, has_image: bool) -> Look | None:
    """Return the look of a family whose latents are packed on `grid`, and whose first frame is held at the image; None
    without a share `at` of the steps to begin at."""
    if at is None:
        return None
    frames = (native.frames - 1) // grid.temporal + 1
    view = unpacked(frames, native.height // grid.spatial, native.width // grid.spatial)
    return Look(at, view, first=1 if has_image else 0)


class Outlook:
    """Looks at one attempt, step by step. Raises Rejected (`early_abort`) once it is hopeless.

    ``steps_before``: those of the calls before, in what it says of an attempt that takes several.
    """

    def __init__(self, look: Look, steps_before: int = 0) -> None:
        self._look, self._steps_before = look, steps_before
        self._before: torch.Tensor | None = None

    @property
    def tensors(self) -> list[str]:
        """The names of the pipeline's variables that `see` wants beside its latents."""
        return [] if self._look.condition is None else [self._look.condition]

    def see(self, pipeline: Any, index: int, tensors: dict[str, Any]) -> Sight | None:
        """Look at the latents after step `index` (from 0), if it is time; return what was measured."""
        before, after = self._before, tensors["latents"]
        self._before = after
        if not torch.isfinite(after).all():
            reason = "the latents hold values that are no finite numbers"
            raise _hopeless(self._steps_before + index, float("nan"), reason)
        sigmas = pipeline.scheduler.sigmas
        if before is None or index + 1 < self._look.at * pipeline.num_timesteps or index + 2 > len(sigmas):
            return None
        end, first, second = (float(sigmas[place]) for place in (-1, index, index + 1))
        if first == second or abs(first - end) > CLEAREST_AT:
            return None
        guess = estimate(before, after, (first - end, second - end))
        sight = seen(self._look.view(guess), self._picture(tensors), self._look.first)
        judge(sight, self._steps_before + index)
        return sight

    def _picture(self, tensors: dict[str, Any]) -> torch.Tensor | None:
        """Return the input picture's latents `(C, h, w)`."""
        if self._look.condition is None:
            return self._look.view(tensors["latents"])[:, 0] if self._look.first else None
        channels = tensors["latents"].shape[1]
        picture: torch.Tensor = tensors[self._look.condition][0, -channels:, 0]
        return picture


def estimate(before: torch.Tensor, after: torch.Tensor, levels: tuple[float, float]) -> torch.Tensor:
    """Return where the line through latents at two noise `levels` ends, at level 0, in fp32.

    Levels count from where the scheduler ends, so that Mochi's, which rise to 1, are negative and end at 0 too.
    """
    first, second = levels
    velocity = (after.float() - before.float()) / (second - first)
    return after.float() - second * velocity


def seen(guess: torch.Tensor, picture: torch.Tensor | None, first: int) -> Sight:
    """Measure an estimate `(C, T, h, w)` from frame `first` on, against a picture's latents `(C, h, w)`."""
    made = guess[:, first:] if guess.shape[1] > first else guess
    spread = float(_spread(made).mean())
    if picture is None or guess.shape[1] <= first:
        return Sight(spread)
    relation = _relation(_coarse(made[:, 0]), _coarse(picture.float()))
    return Sight(spread, float(_spread(picture.float()[:, None]).mean()), relation)


def judge(sight: Sight, index: int) -> None:
    """Raise Rejected if what was seen after step `index` is hopeless."""
    own = sight.own_spread
    flattest = FLATTEST if own is None else FLATTEST * min(1.0, own)
    steepest = STEEPEST if own is None else STEEPEST * max(1.0, own)
    if sight.spread < flattest:
        raise _hopeless(
            index, sight.spread, f"nothing is on it: it varies by {sight.spread:.3f}, {flattest:.3f} is flat"
        )
    if sight.spread > steepest:
        raise _hopeless(index, sight.spread, f"it has blown up: it varies by {sight.spread:.1f}, above {steepest:.1f}")
    is_telling = own is not None and own >= LEAST_SHOWN
    if is_telling and sight.relation is not None and sight.relation < LEAST_RELATED:
        reason = f"its start shows nothing of the picture: a correlation of {sight.relation:.2f}"
        raise _hopeless(index, sight.relation, reason)


def _hopeless(index: int, value: float, reason: str) -> Rejected:
    return Rejected(DETECTOR, None, value, f"given up after step {index + 1}: {reason}")


def _spread(latents: torch.Tensor) -> torch.Tensor:
    """Return `(T,)`: the root of the mean square deviation over the picture, of all channels of a frame."""
    centred = latents - latents.mean(dim=(2, 3), keepdim=True)
    return centred.square().mean(dim=(0, 2, 3)).sqrt()


def _coarse(latents: torch.Tensor) -> torch.Tensor:
    """Return `(C, h, w)` averaged over squares of four, or of less where that would leave fewer than four a side."""
    side = max(1, min(_COARSE, latents.shape[1] // _COARSE, latents.shape[2] // _COARSE))
    return functional.avg_pool2d(latents[None], side)[0]


def _relation(made: torch.Tensor, picture: torch.Tensor) -> float | None:
    """Return the correlation over the picture, channels weighted by their energy; None where either is flat."""
    first, second = (each - each.mean(dim=(1, 2), keepdim=True) for each in (made, picture))
    energy = float((first.square().sum() * second.square().sum()).sqrt())
    return float((first * second).sum()) / energy if energy > 1e-6 else None
