"""Faces, found by YuNet and told apart by SFace, where an operator has their ONNX files: github.com/opencv/opencv_zoo.

Wu et al., YuNet: A Tiny Millisecond-level Face Detector, 2023; Zhong et al., SFace: Sigmoid-Constrained Hypersphere
Loss for Robust Face Recognition, 2021. OpenCV's tutorial on both (docs.opencv.org, "DNN-based Face Detection And
Recognition") takes two faces for one person from a cosine of 0.363 on, where SFace is right for 99.60 % of LFW's pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.region import Box
from serve_app.core.errors import Misconfigured
from serve_app.core.media import Pixels

SAME_PERSON = 0.363
"""The cosine of SFace's features from which on two faces are one person's."""
_LONGEST_PX = 1024
"""Frames are searched at this size at most: YuNet finds faces of about 10 to 300 px."""
_SURE = 0.7
"""A face counts from this score on; YuNet gives 0 to 1."""
_OVERLAP, _MOST = 0.3, 5000

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Face:
    """A face: ``box`` in shares 0..1 of the frame, and YuNet's ``row`` (15,): box, five landmarks in px, score."""

    box: Box
    row: npt.NDArray[np.float32]


class Faces:
    """Both networks, or the detector alone. Any number of threads may ask; one is served at a time.

    Raises Misconfigured naming ``weights.face_detector`` or ``weights.face_recognizer`` for a file that is missing or
    that OpenCV cannot use.
    """

    def __init__(self, detector: str, recognizer: str | None) -> None:
        self._lock = Lock()
        blank = np.zeros((112, 112, 3), np.uint8)
        opencv: Any = cv2  # its stubs know older signatures
        with _Using("weights.face_detector", detector):
            self._detector = opencv.FaceDetectorYN.create(detector, "", (112, 112), _SURE, _OVERLAP, _MOST)
            self._detector.detect(blank)
        self._recognizer: Any = None
        if recognizer is not None:
            with _Using("weights.face_recognizer", recognizer):
                self._recognizer = opencv.FaceRecognizerSF.create(recognizer, "")
                self._recognizer.feature(blank)

    @property
    def can_tell_apart(self) -> bool:
        """Whether there is a recogniser."""
        return self._recognizer is not None

    def find(self, frame: Pixels, near: Box | None = None) -> Face | None:
        """Return the largest face of an RGB frame, or the one closest to the middle of ``near``; None if there is
        none."""
        height, width = frame.shape[:2]
        if min(height, width) < 2:
            return None
        factor = min(1.0, _LONGEST_PX / max(height, width))
        size = (max(2, round(width * factor)), max(2, round(height * factor)))
        small = cv2.resize(_bgr(frame), size, interpolation=cv2.INTER_AREA)
        with self._lock:
            self._detector.setInputSize(size)
            _, rows = self._detector.detect(small)
        if rows is None or not len(rows):
            return None
        scale = np.array([width / size[0], height / size[1]] * 7 + [1.0], np.float32)
        found = [_face(row * scale, width, height) for row in rows if np.isfinite(row).all()]
        if not found:
            return None
        return max(found, key=_area) if near is None else min(found, key=lambda face: _distance(face.box, near))

    def features(self, frame: Pixels, face: Face) -> Features:
        """Return SFace's features (128,) of a face, turned upright and cut out of its frame."""
        with self._lock:
            upright = self._recognizer.alignCrop(_bgr(frame), face.row)
            return np.array(self._recognizer.feature(upright), np.float32).ravel()


def cosine(first: Features, second: Features) -> float:
    """Return the cosine -1..1 between two faces' features; 0 where one has none."""
    length = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / length if length > 0 else 0.0


class _Using:
    """Turns OpenCV's word on a file into ours."""

    def __init__(self, where: str, path: str) -> None:
        self._where, self._path = where, path

    def __enter__(self) -> None:
        if not Path(self._path).is_file():
            raise Misconfigured(self._where, f"{self._path} is no file")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, cv2.error):
            first = (str(error).strip().splitlines() or [""])[0]
            raise Misconfigured(self._where, f"OpenCV cannot use {self._path}: {first}") from error


def _bgr(frame: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))


def _face(row: npt.NDArray[np.float32], width: int, height: int) -> Face:
    """Return the face with the part of its box that lies inside the frame."""
    left, top = (float(np.clip(row[axis] / of, 0, 0.99)) for axis, of in ((0, width), (1, height)))
    right, low = (
        float(np.clip((row[axis] + row[axis + 2]) / of, start + 0.01, 1))
        for axis, of, start in ((0, width, left), (1, height, top))
    )
    return Face((left, top, right - left, low - top), row.astype(np.float32))


def _area(face: Face) -> float:
    return face.box[2] * face.box[3]


def _distance(first: Box, second: Box) -> float:
    (x, y, w, h), (u, v, s, t) = first, second
    return float(np.hypot(x + w / 2 - u - s / 2, y + h / 2 - v - t / 2))
