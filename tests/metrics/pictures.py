"""The people and places that labelled clips are made of: drawn here, or cropped from scikit-image's photographs.

Three sets that share no picture: `TRAIN` (metrics were designed on it), `VALIDATION` (thresholds were set on it) and
`TEST` (looked at by tests and benchmarks alone). Every subject is 640x360 px.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

from serve_app.core.media import Pixels
from serve_app.core.resize import cover_resize

Plane = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

HEIGHT, WIDTH = 360, 640
TRAIN = ("face:1", "face:2", "face:3", "scene:1", "scene:2", "coffee")
VALIDATION = ("face:11", "face:12", "face:13", "scene:11", "scene:12", "motorcycle")
TEST = ("face:21", "face:22", "face:23", "astronaut", "chelsea", "scene:21", "scene:22", "rocket")

_PHOTOGRAPHS: dict[str, tuple[tuple[int, int, int, int], Box | None]] = {
    "coffee": ((0, 0, 600, 400), None),
    "motorcycle": ((0, 0, 741, 500), None),
    "rocket": ((0, 0, 640, 427), None),
    "astronaut": ((0, 0, 512, 288), (0.32, 0.14, 0.24, 0.56)),
    "chelsea": ((0, 10, 451, 264), (0.22, 0.10, 0.46, 0.80)),
}
"""Left, top, right, bottom in px of the original, and the face in shares of the crop."""


@dataclass(frozen=True)
class Subject:
    """A picture ``(360, 640, 3)`` with the face's (x, y, w, h) in shares of it; None where nobody is seen."""

    name: str
    pixels: Pixels
    face: Box | None


@cache
def subject(name: str) -> Subject:
    """Return the subject ``face:N``, ``scene:N`` or a photograph by its name in `skimage.data`."""
    kind, _, seed = name.partition(":")
    if kind == "face":
        return _face(name, np.random.default_rng(1000 + int(seed)))
    if kind == "scene":
        return Subject(name, _scene(np.random.default_rng(2000 + int(seed))), None)
    picture = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    (left, top, right, bottom), face = _PHOTOGRAPHS[name]
    return Subject(name, cover_resize(picture[top:bottom, left:right], HEIGHT, WIDTH), face)


def grain(rng: np.random.Generator, cells: int, octaves: int) -> Plane:
    """Return value noise (360, 640) of deviation 1: ``octaves`` layers, the coarsest ``cells`` cells high."""
    total = np.zeros((HEIGHT, WIDTH), np.float32)
    for octave in range(octaves):
        rows = cells << octave
        layer = rng.standard_normal((rows, rows * 16 // 9 + 1)).astype(np.float32)
        total += cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) * 0.62**octave
    return np.asarray(total / total.std(), np.float32)


def _paint(canvas: Plane, mask: Plane, colour: npt.ArrayLike) -> None:
    canvas += mask[..., None] * (np.asarray(colour, np.float32) - canvas)


def _oval(centre: tuple[float, float], axes: tuple[float, float], soft: float = 0.06) -> Plane:
    """Return a mask 0..1: an ellipse about ``centre`` with half ``axes``, in px, its edge ``soft`` of a radius wide."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    radius = np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
    return np.asarray(np.clip((1 - radius) / soft + 0.5, 0, 1), np.float32)


def _backdrop(rng: np.random.Generator) -> Plane:
    """Return a room: mottled wall, shelves of coloured boxes, a bright window."""
    canvas = np.full((HEIGHT, WIDTH, 3), rng.uniform(80, 150, 3), np.float32)
    canvas += grain(rng, 3, 6)[..., None] * 9
    for _ in range(28):
        left, top = int(rng.integers(0, WIDTH - 40)), int(rng.integers(0, HEIGHT - 40))
        wide, tall = int(rng.integers(12, 70)), int(rng.integers(20, 110))
        canvas[top : top + tall, left : left + wide] = rng.uniform(30, 220, 3) + canvas[
            top : top + tall, left : left + wide
        ] * rng.uniform(0, 0.3)
    canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.8, 1.8)))
    return np.asarray(canvas + grain(rng, 24, 4)[..., None] * 3, np.float32)


def _face(name: str, rng: np.random.Generator) -> Subject:
    canvas = _backdrop(rng)
    tall = float(rng.uniform(85, 115))
    wide = tall * float(rng.uniform(0.7, 0.82))
    cx, cy = float(rng.uniform(260, 380)), float(rng.uniform(160, 190))
    skin = np.array([1.0, rng.uniform(0.72, 0.8), rng.uniform(0.55, 0.66)]) * rng.uniform(120, 215)
    hair = np.array([1.0, rng.uniform(0.6, 0.85), rng.uniform(0.3, 0.75)]) * rng.uniform(25, 130)
    _paint(canvas, _oval((cx, cy + 2.1 * tall), (1.9 * wide, 1.1 * tall)), rng.uniform(30, 200, 3))  # shoulders
    _paint(canvas, _oval((cx, cy - 0.16 * tall), (wide * 1.22, tall * 1.18)), hair)
    _paint(canvas, _oval((cx, cy + 1.0 * tall), (wide * 0.5, tall * 0.5)), skin * 0.8)  # neck
    _paint(canvas, _oval((cx, cy + 0.08 * tall), (wide, tall)), skin)
    x = np.arange(WIDTH, dtype=np.float32)[None]
    canvas *= (1 + rng.uniform(-0.22, 0.22) * (x - cx) / wide * _oval((cx, cy), (wide * 1.2, tall * 1.2), 0.5))[
        ..., None
    ]
    _features(canvas, rng, (cx, cy), (wide, tall), skin, hair)
    pores = grain(rng, 40, 3) * _oval((cx, cy), (wide, tall))
    strands = grain(rng, 60, 2) * np.clip(
        _oval((cx, cy - 0.3 * tall), (wide * 1.2, tall)) - _oval((cx, cy + 0.1 * tall), (wide, tall)), 0, 1
    )
    canvas += (pores * rng.uniform(2, 5) + strands * 16)[..., None]
    box = ((cx - wide) / WIDTH, (cy - 0.92 * tall) / HEIGHT, 2 * wide / WIDTH, 2 * tall / HEIGHT)
    return Subject(name, np.clip(canvas, 0, 255).astype(np.uint8), box)


def _features(
    canvas: Plane,
    rng: np.random.Generator,
    centre: tuple[float, float],
    size: tuple[float, float],
    skin: npt.NDArray[np.float64],
    hair: npt.NDArray[np.float64],
) -> None:
    """Draw brows, eyes, nose, mouth, and freckles or glasses."""
    (cx, cy), (wide, tall) = centre, size
    gap, line = wide * float(rng.uniform(0.36, 0.46)), cy - tall * float(rng.uniform(0.08, 0.2))
    eye = wide * float(rng.uniform(0.15, 0.21))
    iris = rng.uniform(20, 140, 3)
    for side in (-1, 1):
        spot = (cx + side * gap, line)
        _paint(canvas, _oval((spot[0], line - eye * 1.5), (eye * 1.5, eye * rng.uniform(0.2, 0.4)), 0.3), hair * 0.7)
        _paint(canvas, _oval(spot, (eye * 1.2, eye * 0.65)), (235, 232, 228))
        _paint(canvas, _oval(spot, (eye * 0.6, eye * 0.6)), iris)
        _paint(canvas, _oval(spot, (eye * 0.28, eye * 0.28)), (10, 10, 12))
        _paint(canvas, _oval((spot[0] - eye * 0.2, line - eye * 0.25), (eye * 0.14, eye * 0.14)), (250, 250, 250))
    nose = float(rng.uniform(0.12, 0.2)) * wide
    _paint(canvas, 0.5 * _oval((cx + nose * 0.8, cy + tall * 0.12), (nose * 0.6, tall * 0.22), 0.9), skin * 0.6)
    for side in (-1, 1):
        _paint(canvas, _oval((cx + side * nose, cy + tall * 0.33), (nose * 0.45, nose * 0.3), 0.4), skin * 0.35)
    mouth = cy + tall * float(rng.uniform(0.52, 0.62))
    lips = skin * np.array([0.95, 0.55, 0.6])
    across = wide * float(rng.uniform(0.3, 0.44))
    _paint(canvas, _oval((cx, mouth), (across, tall * float(rng.uniform(0.06, 0.1))), 0.15), lips)
    _paint(canvas, _oval((cx, mouth), (across * 0.9, tall * 0.015), 0.4), lips * 0.3)
    for _ in range(int(rng.integers(0, 60))):
        spot = (cx + wide * float(rng.uniform(-0.7, 0.7)), cy + tall * float(rng.uniform(-0.1, 0.5)))
        _paint(canvas, 0.5 * _oval(spot, (1.6, 1.6), 0.6), skin * 0.6)


def _scene(rng: np.random.Generator) -> Pixels:
    """Return a landscape: sky with clouds, ridges, a lit town, grass."""
    canvas = np.linspace(rng.uniform(150, 200, 3), rng.uniform(200, 240, 3), HEIGHT)[:, None].astype(np.float32)
    canvas = np.repeat(canvas, WIDTH, axis=1) + np.clip(grain(rng, 4, 6), 0, 3)[..., None] * 18
    y = np.arange(HEIGHT, dtype=np.float32)[:, None]
    for ridge in range(4):
        line = 110 + 45 * ridge + grain(rng, 2, 5)[ridge * 40] * (32 - 6 * ridge)
        colour = rng.uniform(40, 150, 3) * (0.6 + 0.12 * ridge)
        _paint(canvas, np.clip(y - line[None], 0, 1), colour)
        canvas += (grain(rng, 12, 5) * (9 + 3 * ridge) * (y > line[None]))[..., None]
    for _ in range(45):
        left, top = int(rng.integers(0, WIDTH - 30)), int(rng.integers(170, 300))
        wide, tall = int(rng.integers(8, 40)), int(rng.integers(15, 70))
        canvas[top : top + tall, left : left + wide] = rng.uniform(40, 210, 3)
        canvas[top + 4 : top + tall : 7, left + 2 : left + wide : 5] = rng.uniform(20, 250, 3)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 0.6)
    return np.asarray(np.clip(canvas, 0, 255), np.uint8)
