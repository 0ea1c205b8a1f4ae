"""The judge of clips: sees what a person would send back, and says which frame and why. No weights, one CPU core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from deployments.metrics.box import CheckedBox
from deployments.metrics.face_files import NO_FACE, FaceFiles, check_faces, faces_of
from deployments.metrics.limits import ClipLimits, check_order
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Image, Pixels, VideoShape, exact_fps
from serve_app.core.resize import cover_resize
from serve_app.core.score import Score
from serve_app.core.stage import Context
from serve_app.core.streaming import Chunk

if TYPE_CHECKING:
    from deployments.metrics.box import FaceBox
    from deployments.metrics.faces import Face
    from deployments.metrics.findings import Reading
    from deployments.metrics.null import Null
    from deployments.metrics.nulls import Nulls
    from deployments.metrics.scale import Grey
    from deployments.metrics.sights import Sight, Sights


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

    With ``null_clips`` the stage first learns from the picture how far these numbers go under legitimate motion, while
    the generator works if the picture came with the request; it keeps that for the last 64 pictures, and on disk for
    other replicas. Without ``image`` the clip is held against its own first frame.

    With ``draft``, of as many frames, which the clip was finished from, ``flicker`` also minds what finishing added.
    With a face detector it looks at the face that it finds (noted as ``region``: faces), else at ``face_box``, else at
    the whole frame; with a recogniser, ``identity`` also minds whether that face stays the same person's.
    """

    is_cpu_only = True

    chunk_port = "clip"

    class Weights(FaceFiles):
        """None are needed. With ONNX files of YuNet and SFace, faces are found and told apart, see `FaceFiles`."""

    class Params(ClipLimits):
        """The limits of `ClipLimits`, what was asked of the generator, and where to look.

        ``width``, ``height`` (px), ``frames`` and ``fps`` (Hz) are what was asked; None: anything. ``face_box``: the
        face as (x, y, width, height) in shares 0..1 of the frame; None: every part of the frame is looked at, which is
        less sharp. ``null_clips``: how many legitimate clips to make of a picture when it is first seen, 0.5 s of one
        core each; 0: the limits stand alone. ``needs_face``: refuse an image in which no face is found.
        """

        width: int | None = Field(None, ge=1)
        height: int | None = Field(None, ge=1)
        frames: int | None = Field(None, ge=1)
        fps: float | str | None = None
        face_box: CheckedBox | None = None
        null_clips: int = Field(8, ge=0, le=64)
        needs_face: bool = False

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput when two limits are the wrong way round, or ``fps`` is not a rate."""
        check_order(params)
        if params.fps is not None:
            exact_fps(params.fps)

    @staticmethod
    def fits(params: Params, weights: Weights) -> None:
        """Raise Misconfigured when a face is needed and there is nothing to find it with."""
        check_faces(params.needs_face, weights)

    @staticmethod
    def requires(params: Params) -> tuple[str, ...]:
        """Return ``image`` when a face is needed in it."""
        return ("image",) if params.needs_face else ()

    def load(self, weights: Weights, context: Context) -> None:
        """Read the networks, if any, and begin to remember pictures. Raise Misconfigured for a file that is none."""
        from deployments.metrics.nulls import Nulls

        self._context = context
        self._nulls: Nulls = Nulls(shared=context.scratch / "nulls")
        self._faces = faces_of(weights)

    def run(self, params: Params, *, clip: Clip, image: Image | None = None, draft: Clip | None = None) -> Score:
        """Return the score of ``clip``, made from ``image`` and finished from ``draft``.

        Never raises for what is in the frames; InvalidInput naming ``image`` if a face is needed and not in it.
        """
        import cv2

        from deployments.metrics.sights import is_clip, sights_in

        self.plan(params)
        cv2.setNumThreads(self._context.threads)
        photo = self._photo(image, clip.shape)
        sights = sights_in(clip, photo, self._context.progress)
        reference = photo if photo is not None else clip.frames[0] if is_clip(clip.shape) else None
        face = None if reference is None else self._face(params, reference)
        beside: dict[str, Reading] = {}
        if is_clip(clip.shape) and reference is not None:
            beside = self._beside(clip, draft, reference, face)
        return self._examined(params, sights, photo, face, beside)

    @staticmethod
    def folds(params: Params, weights: Weights) -> bool:
        """Whether a clip may be looked at chunk by chunk: without networks for faces."""
        return weights.face_detector is None

    def part(self, params: Params, *, clip: Chunk, image: Image | None = None, draft: Clip | None = None) -> Sight:
        """Look at the full-size frames of one chunk."""
        import cv2

        from deployments.metrics.sights import sight_of

        cv2.setNumThreads(self._context.threads)
        return sight_of(clip, _covered(image, clip.clip.shape), self._context.progress)

    def gather(
        self, params: Params, *, clip: Sequence[Sight], image: Image | None = None, draft: Clip | None = None
    ) -> Score:
        """Return the score of the clip whose chunks were looked at."""
        import cv2

        from deployments.metrics.sights import sights_of

        self.plan(params)
        cv2.setNumThreads(self._context.threads)
        sights = sights_of(clip)
        photo = self._photo(image, sights.shape)
        if draft is not None:
            self._context.warn("the clip came in chunks, so flicker was not measured against the draft")
        return self._examined(params, sights, photo, None, {})

    def _photo(self, image: Image | None, shape: VideoShape) -> Pixels | None:
        if image is None:
            self._context.warn("no image was given, so the clip was compared with its own first frame")
        return _covered(image, shape)

    def _examined(
        self, params: Params, sights: Sights, photo: Pixels | None, face: Face | None, beside: dict[str, Reading]
    ) -> Score:
        from deployments.metrics.examination import Case, Examination
        from deployments.metrics.integrity import Asked

        fps = None if params.fps is None else exact_fps(params.fps)
        asked = Asked(params.width, params.height, params.frames, fps)
        self._context.note("region", "faces" if face else "frame" if params.face_box is None else "face_box")
        case = Case(sights, photo, params, asked, face.box if face else params.face_box, beside)
        notes: dict[str, str | float] = {"null": "unused" if params.null_clips else "off"}
        score = Examination(case, lambda grey: self._null(grey, case.face, params, notes)).score()
        for name, value in notes.items():
            self._context.note(name, value)
        return score

    def prepare(self, params: Params, *, image: Image) -> None:
        """Learn a picture before there is a clip of it, of ``params.height`` x ``width`` px (None: the picture's own
        size), so that `run` finds the null ready."""
        import cv2

        from deployments.metrics.scale import CLIP_AREA_PX, grey_of, scaled, size_for

        cv2.setNumThreads(self._context.threads)
        height, width = params.height or image.height, params.width or image.width
        photo = cover_resize(image.pixels, height, width)
        face = self._face(params, photo)
        grey = scaled(grey_of(photo), size_for(height, width, CLIP_AREA_PX))
        self._nulls.of(grey, face.box if face else params.face_box, params.null_clips)

    def _null(self, grey: Grey, box: FaceBox | None, params: Params, notes: dict[str, str | float]) -> Null | None:
        """Return the null of a picture; into ``notes``, where it came from and how long that held up the judgement."""
        found = self._nulls.of(grey, box, params.null_clips)
        if found is None:
            return None
        notes |= {"null": found.source, "null_wait_s": round(found.seconds, 3)}
        return found.null

    def _face(self, params: Params, reference: Pixels) -> Face | None:
        """Return the picture's face; None without a detector. Raise InvalidInput if one is needed, and not there."""
        face = None if self._faces is None else self._faces.find(reference, params.face_box)
        if params.needs_face and face is None:
            raise InvalidInput("image", NO_FACE)
        return face

    def _beside(self, clip: Clip, draft: Clip | None, reference: Pixels, face: Face | None) -> dict[str, Reading]:
        """Return what only some clips can be measured for."""
        from deployments.metrics.people import face_readings
        from deployments.metrics.shimmer import shimmer_readings

        found: dict[str, Reading] = {}
        if face is not None and self._faces is not None and self._faces.can_tell_apart:
            found |= face_readings(self._faces, reference, face, clip.frames)
        if draft is not None and draft.frames.size and len(draft.frames) == len(clip.frames):
            found |= shimmer_readings(clip.frames, draft.frames)
        elif draft is not None:
            count = f"{len(draft.frames)} frames and the clip {len(clip.frames)}"
            self._context.warn(f"the draft has {count}, so flicker was not measured against it")
        return found


def _covered(image: Image | None, shape: VideoShape) -> Pixels | None:
    """Return the picture as a frame would show it; None without one, and for frames without a pixel."""
    if image is None or not shape.frames * shape.height * shape.width:
        return None
    return cover_resize(image.pixels, shape.height, shape.width)
