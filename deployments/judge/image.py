"""The judge of stills: is it sharp, lit, clean, and a picture at all? No weights, some tens of milliseconds."""

from __future__ import annotations

from pydantic import Field

from deployments.metrics.box import CheckedBox
from deployments.metrics.face_files import NO_FACE, FaceFiles, check_faces, faces_of
from deployments.metrics.limits import StillLimits, check_order
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Image as Picture
from serve_app.core.score import Score
from serve_app.core.stage import Context


class Image:
    """Judges one picture by itself (`judge.image`).

    Detectors: ``integrity``, ``black``, ``blank`` (one colour, or a pattern of two), ``blur``, ``noise``, ``exposure``,
    ``blocks``, ``banding``. Points, 0..100: the classic score of the effective sharpness (which grain cannot raise),
    brightness and contrast, at most 74 on a warning, 49 on a failure, 20 on a rejection, 0 if there is nothing to see.
    ``measures`` holds every number, and the classic ``seed_score``, which decides nothing. Taste, likeness to a prompt
    and plastic skin are not judged: they need weights, or people. Where a face is, found by a detector or pointed at by
    ``face_box`` (noted as ``region``), ``blur`` also minds that it is sharp, whatever the background.
    """

    is_cpu_only = True

    class Weights(FaceFiles):
        """None are needed. With an ONNX file of YuNet, faces are found, see `FaceFiles`; the recogniser has no use
        here."""

    class Params(StillLimits):
        """The limits of `StillLimits`; ``blur_fail``: the least effective sharpness, levels squared, at 1024x1024
        px. ``face_box``: the face as (x, y, width, height) in shares 0..1 of the picture. ``needs_face``: refuse a
        picture in which no face is found."""

        blur_warn: float | None = Field(None, ge=0)
        """A warning of softness, above ``blur_fail``. None: the points say it already."""
        blur_fail: float | None = Field(50.0, ge=0)
        face_blur_warn: float | None = Field(10.0, ge=0)
        """Effective sharpness of the face alone, below: skin is smoother than a whole picture."""
        face_box: CheckedBox | None = None
        needs_face: bool = False

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput when two limits are the wrong way round."""
        check_order(params)

    @staticmethod
    def fits(params: Params, weights: Weights) -> None:
        """Raise Misconfigured when a face is needed and there is nothing to find it with."""
        check_faces(params.needs_face, weights)

    def load(self, weights: Weights, context: Context) -> None:
        """Read the detector, if there is one. Raise Misconfigured for a file that is none."""
        self._context = context
        self._faces = faces_of(weights)

    def run(self, params: Params, *, image: Picture) -> Score:
        """Return the score of ``image``.

        Raise InvalidInput naming ``image`` if a face is needed and not in it; else never for what is in its pixels.
        """
        import cv2

        from deployments.metrics.picture import picture_score

        self.plan(params)
        cv2.setNumThreads(self._context.threads)
        face = None if self._faces is None or not image.pixels.size else self._faces.find(image.pixels, params.face_box)
        if params.needs_face and face is None:
            raise InvalidInput("image", NO_FACE)
        self._context.note("region", "faces" if face else "frame" if params.face_box is None else "face_box")
        return picture_score(image.pixels, params, face.box if face else params.face_box)
