"""The judge of clips: sees what a person would send back, and says which frame and why. No weights, one CPU core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from deployments.metrics.box import CheckedBox
from deployments.metrics.limits import ClipLimits, check_order
from serve_app.core.media import Clip, Image, exact_fps
from serve_app.core.resize import cover_resize
from serve_app.core.score import Score
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.metrics.nulls import Nulls


class Video:
    """Judges a clip against the picture that it began from (`judge.video`).

    One detector per failure, each with its value, unit, frame and reason: ``integrity``, ``black``, ``blank``,
    ``frozen``, ``stutter``, ``flicker``, ``identity`` (another person or place from frame k), ``first_frame``,
    ``detail``, ``drift``, ``wobble``, ``blur``, ``noise``, ``exposure``, ``blocks``, ``banding``. Motion that a camera
    or a body can make is undone by optical flow before anything is compared, so that neither a pan nor a nod is a
    fault.

    Points, 0..100: the 10th percentile of the frames' own scores (sharpness, brightness, contrast), at most 74 on a
    warning, 49 on a failure, 20 on a rejection, 0 if there is nothing to see. ``measures`` holds every number, and the
    classic ``seed_score`` and pixel differences (also the checkpoints), which decide nothing.

    With ``null_clips`` the stage first learns from the picture how far these numbers go under legitimate motion; it
    keeps that for the last 64 pictures. Without ``image`` the clip is held against its own first frame.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(ClipLimits):
        """The limits of `ClipLimits`, what was asked of the generator, and where to look.

        ``width``, ``height`` (px), ``frames`` and ``fps`` (Hz) are what was asked; None: anything. ``face_box``: the
        face as (x, y, width, height) in shares 0..1 of the frame; None: every part of the frame is looked at, which is
        less sharp. ``null_clips``: how many legitimate clips to make of a picture when it is first seen, 0.5 s of one
        core each; 0: the limits stand alone.
        """

        width: int | None = Field(None, ge=1)
        height: int | None = Field(None, ge=1)
        frames: int | None = Field(None, ge=1)
        fps: float | str | None = None
        face_box: CheckedBox | None = None
        null_clips: int = Field(8, ge=0, le=64)

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput when two limits are the wrong way round, or ``fps`` is not a rate."""
        check_order(params)
        if params.fps is not None:
            exact_fps(params.fps)

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context, and begin to remember pictures."""
        from deployments.metrics.nulls import Nulls

        self._context = context
        self._nulls: Nulls = Nulls()

    def run(self, params: Params, *, clip: Clip, image: Image | None = None) -> Score:
        """Return the score of ``clip``, made from ``image``. Never raises for what is in the frames."""
        import cv2

        from deployments.metrics.examination import Case, Examination
        from deployments.metrics.integrity import Asked

        self.plan(params)
        self._nulls.was_known = None
        cv2.setNumThreads(self._context.threads)
        shape = clip.shape
        photo = None
        if image is None:
            self._context.warn("no image was given, so the clip was compared with its own first frame")
        elif clip.frames.size:
            photo = cover_resize(image.pixels, shape.height, shape.width)
        self._context.note("region", "frame" if params.face_box is None else "face_box")
        fps = None if params.fps is None else exact_fps(params.fps)
        asked = Asked(params.width, params.height, params.frames, fps)
        case = Case(clip, photo, params, asked, params.face_box, params.null_clips)
        score = Examination(case, self._nulls, self._context.progress).score()
        used = {None: "unused", True: "known", False: "made"}[self._nulls.was_known]
        self._context.note("null", used if params.null_clips else "off")
        return score

    def prepare(self, params: Params, image: Image) -> None:
        """Learn a picture before there is a clip of it, of ``params.height`` x ``width`` px (None: the picture's own
        size).

        A caller may do so while the generator works; `run` then finds the null ready.
        """
        import cv2

        from deployments.metrics.scale import CLIP_AREA_PX, grey_of, scaled, size_for

        cv2.setNumThreads(self._context.threads)
        height, width = params.height or image.height, params.width or image.width
        grey = grey_of(cover_resize(image.pixels, height, width))
        self._nulls.of(scaled(grey, size_for(height, width, CLIP_AREA_PX)), params.face_box, params.null_clips)
