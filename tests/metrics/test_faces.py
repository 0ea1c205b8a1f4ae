"""Faces through OpenCV's own classes, with nets that have the inputs and outputs of YuNet and SFace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deployments.metrics.faces import SAME_PERSON, Faces, cosine
from serve_app.core.errors import Misconfigured
from tests.deployments.tiny_faces import person, scene, write_detector, write_recognizer


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Faces:
    root = tmp_path_factory.mktemp("faces")
    return Faces(write_detector(root / "yunet.onnx"), write_recognizer(root / "sface.onnx"))


def test_a_face_is_found_where_it_is(faces: Faces) -> None:
    found = faces.find(scene(person(1), left=76, top=44))
    assert found is not None
    assert found.box == pytest.approx((76 / 192, 44 / 128, 48 / 192, 48 / 128), abs=0.05)


def test_nobody_is_found_where_nobody_is(faces: Faces) -> None:
    assert faces.find(scene(None)) is None
    assert faces.find(np.zeros((1, 1, 3), np.uint8)) is None


def test_a_large_frame_is_searched_smaller_and_the_box_is_the_frames(faces: Faces) -> None:
    large = scene(person(1), left=76, top=44).repeat(8, axis=0).repeat(8, axis=1)
    assert large.shape == (1024, 1536, 3)
    small = np.zeros((1365, 2048, 3), np.uint8)
    small[:, :] = 120
    small[200:296, 400:496] = person(1).repeat(2, axis=0).repeat(2, axis=1)
    found = faces.find(small)
    assert found is not None
    assert found.box == pytest.approx((400 / 2048, 200 / 1365, 96 / 2048, 96 / 1365), abs=0.01)


def test_of_two_faces_the_one_is_meant_that_the_caller_points_at(faces: Faces) -> None:
    frame = scene(person(1), left=12, top=44)
    frame[44:92, 124:172] = person(2)
    for near, left in (((0.0, 0.3, 0.3, 0.4), 12), ((0.6, 0.3, 0.3, 0.4), 124)):
        found = faces.find(frame, near)
        assert found is not None
        assert found.box[0] * 192 == pytest.approx(left, abs=9)


def test_one_person_is_like_themselves_and_unlike_another(faces: Faces) -> None:
    frames = [scene(person(1)), scene(person(1), left=100), scene(person(2))]
    found = [faces.find(frame) for frame in frames]
    mine, moved, other = (faces.features(frame, face) for frame, face in zip(frames, found, strict=True) if face)
    assert cosine(mine, moved) > SAME_PERSON > cosine(mine, other)
    assert cosine(mine, mine) == pytest.approx(1)
    assert cosine(mine, np.zeros(128, np.float32)) == 0


def test_threads_may_ask_at_once(faces: Faces) -> None:
    frames = [scene(person(1), left=12 + 8 * index) for index in range(8)]
    alone = [faces.find(frame) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(faces.find, frames))
    assert [face.box for face in together if face] == [face.box for face in alone if face]


@pytest.mark.parametrize("content", [None, b"", b"no network at all " * 50])
def test_a_file_that_is_no_network_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Misconfigured, match=r"weights.face_detector: .*net.onnx"):
        Faces(str(path), None)
    with pytest.raises(Misconfigured, match=r"weights.face_recognizer: .*net.onnx"):
        Faces(write_detector(tmp_path / "yunet.onnx"), str(path))


def test_two_files_in_each_others_place_are_found_at_load(tmp_path: Path) -> None:
    detector, recognizer = write_detector(tmp_path / "y.onnx"), write_recognizer(tmp_path / "s.onnx")
    with pytest.raises(Misconfigured, match=r"weights.face_detector: OpenCV cannot use"):
        Faces(recognizer, None)
    with pytest.raises(Misconfigured, match=r"weights.face_recognizer: OpenCV cannot use"):
        Faces(detector, detector)
