"""The judge of stills: is it sharp, lit, clean, and a picture at all? No weights, some tens of milliseconds."""

from __future__ import annotations

from pydantic import Field

from deployments.metrics.limits import StillLimits, check_order
from serve_app.core.media import Image as Picture
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict


class Image:
    """Judges one picture by itself (`judge.image`).

    Detectors: ``integrity``, ``black``, ``blank`` (one colour, or a pattern of two), ``blur``, ``noise``, ``exposure``,
    ``blocks``, ``banding``. Points, 0..100: the classic score of the effective sharpness (which grain cannot raise),
    brightness and contrast, at most 74 on a warning, 49 on a failure, 20 on a rejection, 0 if there is nothing to see.
    ``measures`` holds every number, and the classic ``seed_score``, which decides nothing. Taste, likeness to a prompt
    and plastic skin are not judged: they need weights, or people.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(StillLimits):
        """The limits of `StillLimits`; ``blur_fail``: the least effective sharpness, levels squared, at 1024x1024
        px."""

        blur_warn: float | None = Field(None, ge=0)
        """A warning of softness, above ``blur_fail``. None: the points say it already."""
        blur_fail: float | None = Field(50.0, ge=0)

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput when two limits are the wrong way round."""
        check_order(params)

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, image: Picture) -> Score:
        """Return the score of ``image``. Never raises for what is in its pixels."""
        import cv2

        from deployments.metrics.picture import picture_score

        self.plan(params)
        cv2.setNumThreads(self._context.threads)
        return picture_score(image.pixels, params)
