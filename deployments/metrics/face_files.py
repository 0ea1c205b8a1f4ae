"""The ONNX files that a judge may be given to find faces with and to tell them apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from serve_app.core.errors import Misconfigured
from serve_app.core.stage import Strict

if TYPE_CHECKING:
    from deployments.metrics.faces import Faces

NO_FACE = "no face is found in it, and one is needed"


class FaceFiles(Strict):
    """Both are published at github.com/opencv/opencv_zoo; what they give is described in `faces`."""

    face_detector: str | None = Field(None, description="A local ONNX file of YuNet (`face_detection_yunet_*.onnx`).")
    face_recognizer: str | None = Field(
        None, description="A local ONNX file of SFace (`face_recognition_sface_*.onnx`); needs the detector too."
    )

    @model_validator(mode="after")
    def _are_both_there(self) -> FaceFiles:
        if self.face_recognizer is not None and self.face_detector is None:
            raise ValueError("face_recognizer needs face_detector: a face is found before it is recognised")
        return self


def check_faces(is_needed: bool, weights: FaceFiles) -> None:
    """Raise Misconfigured when a face ``is_needed`` and there is nothing to find it with."""
    if is_needed and weights.face_detector is None:
        raise Misconfigured("weights.face_detector", "needs_face is set, and no face can be found without this file")


def faces_of(weights: FaceFiles) -> Faces | None:
    """Return what the files hold; None without any. Raise Misconfigured naming the file that OpenCV cannot use."""
    if weights.face_detector is None:
        return None
    from deployments.metrics.faces import Faces

    return Faces(weights.face_detector, weights.face_recognizer)
