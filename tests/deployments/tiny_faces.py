"""Stand-ins for YuNet and SFace, with their inputs and outputs: "faces" are blue squares of 48 px, told apart by
their pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from serve_app.core.media import Pixels
from tests.deployments.tiny_onnx import model, node

SIDE = 48
"""Of a face, px."""
_LANDMARKS = np.array([[-1, -1], [1, -1], [0, 0], [-1, 1], [1, 1]], np.float32)
"""Eyes, nose and corners of the mouth, in cells of 8 px from a face's middle."""

Weights = dict[str, npt.NDArray[np.float32] | npt.NDArray[np.int64]]


def write_detector(path: Path) -> str:
    """Write a net that is as sure of a face as the 48 px about a cell are blue; return ``path`` as text."""
    nodes: list[bytes] = []
    weights: Weights = {}
    outputs: dict[str, tuple[int | str, ...]] = {}
    for stride in (8, 16, 32):
        kernel, pad = (SIDE, 20) if stride == 8 else (stride, 0)
        for part, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{part}_{stride}"
            weight = np.zeros((width, 3, kernel, kernel), np.float32)
            bias = np.zeros(width, np.float32)
            if stride == 8 and width == 1:
                weight[0, 0], weight[0, 2] = 1 / 200 / kernel**2, -1 / 200 / kernel**2  # blue comes first
            elif part == "bbox":
                bias[:] = (0.5, 0.5, *np.log([SIDE / stride] * 2))
            elif part == "kps":
                bias[:] = (_LANDMARKS + 0.5).ravel()
            weights |= {f"{name}_w": weight, f"{name}_b": bias, f"{name}_s": np.array([1, -1, width], np.int64)}
            sizes = {"kernel_shape": (kernel, kernel), "strides": (stride, stride), "pads": (pad,) * 4}
            nodes += [
                node("Conv", ["input", f"{name}_w", f"{name}_b"], f"{name}_c", **sizes),
                node("Transpose", [f"{name}_c"], f"{name}_t", perm=(0, 2, 3, 1)),
                node("Reshape", [f"{name}_t", f"{name}_s"], name),
            ]
            outputs[name] = (1, f"n{stride}", width)
    path.write_bytes(model(nodes, weights, ("input", (1, 3, "height", "width")), outputs))
    return str(path)


def write_recognizer(path: Path) -> str:
    """Write a net whose 128 features are fixed random projections of sixteen parts of a face; return ``path``."""
    weight = np.random.default_rng(0).standard_normal((8, 3, 28, 28)).astype(np.float32)
    weight -= weight.mean(axis=(2, 3), keepdims=True)
    weights: Weights = {"w": weight, "s": np.array([1, 128], np.int64)}
    nodes = [
        node("Conv", ["data", "w"], "c", kernel_shape=(28, 28), strides=(28, 28)),
        node("Reshape", ["c", "s"], "fc1"),
    ]
    path.write_bytes(model(nodes, weights, ("data", (1, 3, 112, 112)), {"fc1": (1, 128)}))
    return str(path)


def person(number: int) -> Pixels:
    """Return the face of somebody, (48, 48, 3): a pattern of its own in red and green, all blue."""
    rng = np.random.default_rng(number)
    pattern = rng.integers(0, 2, (6, 6, 2)) * 110
    return np.dstack([pattern.repeat(8, axis=0).repeat(8, axis=1), np.full((SIDE, SIDE), 255)]).astype(np.uint8)


def scene(face: Pixels | None, left: int = 72, top: int = 40, size: tuple[int, int] = (128, 192)) -> Pixels:
    """Return a textured background (height, width), grey, with ``face`` at (left, top)."""
    grey = np.random.default_rng(9).integers(60, 200, (size[0] // 4, size[1] // 4)).repeat(4, axis=0).repeat(4, axis=1)
    frame = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    if face is not None:
        frame[top : top + SIDE, left : left + SIDE] = face
    return frame
