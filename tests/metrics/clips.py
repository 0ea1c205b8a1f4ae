"""Labelled clips, synthesised: motion that a person would accept, and every failure that one would send back.

A clip is 25 frames of 640x360 at 24 fps: one subject, moved by `fields`, then seen through a camera (light, grain,
JPEG). Sizes follow what image-to-video models show. Legitimate: a pan of 10-50 px, a zoom of 2-8 %, a head that moves
3-8 % of its height and turns 4 degrees, an expression of 2-5 % of the face, light that changes by 8-25 levels, grain of
deviation 1-4, JPEG of quality 45-95. Failures, each over a mild motion, grain 1-3 and JPEG 75-95: drift grows to 5-10 %
of the face, melt to 8-18 %, wobble (the whole frame) and ripple (what is behind the subject) are 1.5-4.5 px at 1.5-4
Hz, blur of the face reaches deviation 1.5-3.5 px.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serve_app.core.media import Pixels
from tests.metrics import fields
from tests.metrics.fields import Split, X, Y
from tests.metrics.pictures import HEIGHT, TEST, TRAIN, VALIDATION, WIDTH, Box, Plane, Subject, subject

FRAMES, FPS = 25, 24
NAMES: dict[Split, tuple[str, ...]] = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
LEGIT = ("still", "pan", "zoom", "head", "expression", "brightness", "noise", "jpeg", "combination")
FAST = ("swap", "morph", "blur", "frozen", "black", "flicker", "shuffled")
"""Failures that are plain to see, and so must be failed."""
SLOW = ("drift", "melt", "wobble", "ripple")
"""Failures that creep in, and so must at least be flagged."""
FURTHER = ("soft", "grainy", "banded", "blocky", "dark", "other_photo")
_MIDDLE: Box = (0.32, 0.25, 0.3, 0.5)
"""What fails in a picture without a face."""


@dataclass(frozen=True)
class Labelled:
    """``frames`` (25, 360, 640, 3), what was done to them, and the frames (first, last) where it shows; None: all."""

    frames: Pixels
    kind: str
    subject: Subject
    shows: tuple[int, int] | None = None


def seed_of(split: Split, name: str, kind: str, draw: int) -> int:
    """Return a seed that no two clips share."""
    return int.from_bytes(f"{split}/{name}/{kind}/{draw}".encode(), "big") % (2**61 - 1)


def clip(split: Split, name: str, kind: str, draw: int = 0) -> Labelled:
    """Return one clip; the same arguments give the same bytes."""
    rng = np.random.default_rng(seed_of(split, name, kind, draw))
    return _Maker(split, subject(name), kind, rng).make()


class _Maker:
    def __init__(self, split: Split, of: Subject, kind: str, rng: np.random.Generator) -> None:
        self._split: Split = split
        self._of, self._kind, self._rng = of, kind, rng
        self._box = fields.in_px(of.face or _MIDDLE)
        self._start = int(rng.integers(FRAMES // 3, 2 * FRAMES // 3))
        self._grain = float(rng.uniform(1, 3))
        self._quality = int(rng.integers(75, 96))
        self._gain: npt.NDArray[np.float64] = np.ones(FRAMES)
        self._dx = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)
        self._dy = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)

    def make(self) -> Labelled:
        if self._kind in LEGIT:
            getattr(self, f"_{self._kind}")(1.0)
            return Labelled(self._seen(self._moved(self._of.pixels)), self._kind, self._of)
        self._mild()
        if self._kind in SLOW:
            getattr(self, f"_{self._kind}")()
            return Labelled(self._seen(self._moved(self._of.pixels)), self._kind, self._of)
        return self._broken()

    # ---- what is legitimate
    def _add(self, dx: Plane | float, dy: Plane | float, curve: npt.NDArray[np.float64]) -> None:
        for index, size in enumerate(curve):
            self._dx[index] += np.float32(size) * dx
            self._dy[index] += np.float32(size) * dy

    def _rise(self) -> npt.NDArray[np.float64]:
        return fields.rise(self._split, FRAMES)

    def _still(self, size: float) -> None:
        pass

    def _pan(self, size: float) -> None:
        angle, far = self._rng.uniform(0, 2 * np.pi), self._rng.uniform(10, 50) * size
        self._add(far * np.cos(angle), 0.5 * far * np.sin(angle), self._rise())
        for index, (x, y) in enumerate(fields.tremble(self._split, FRAMES, self._rng)):
            self._dx[index] += x
            self._dy[index] += y

    def _zoom(self, size: float) -> None:
        scale = 1 + self._rng.uniform(0.02, 0.08) * size * self._rng.choice([-1, 1])
        centre = (WIDTH * self._rng.uniform(0.3, 0.7), HEIGHT * self._rng.uniform(0.3, 0.7))
        self._add(*fields.similarity(scale, 0.0, (0, 0), centre), self._rise())

    def _head(self, size: float) -> None:
        x, y, w, h = self._box
        shift = (
            self._rng.uniform(0.03, 0.08)
            * h
            * size
            * np.array([self._rng.choice([-1, 1]), self._rng.uniform(-0.6, 0.6)])
        )
        angle = np.deg2rad(self._rng.uniform(-4, 4)) * size
        dx, dy = fields.similarity(1.0, angle, shift, (x + w / 2, y + h))
        mask = fields.plateau((x - 0.2 * w, y - 0.2 * h, 1.4 * w, 1.4 * h))
        self._add(dx * mask, dy * mask, fields.sway(self._split, FRAMES, self._rng))

    def _expression(self, size: float) -> None:
        x, y, w, h = self._box
        much = self._rng.uniform(0.02, 0.05) * h * size
        curve = fields.sway(self._split, FRAMES, self._rng)
        mouth = fields.bump(self._split, (x + w / 2, y + 0.76 * h), (0.3 * w, 0.22 * h))
        lip = np.sign(Y - (y + 0.76 * h)) * np.clip(np.abs(Y - (y + 0.76 * h)) / (0.08 * h), 0, 1)
        self._add(0.0, -much * mouth * lip, curve)
        brows = fields.bump(self._split, (x + w / 2, y + 0.3 * h), (0.5 * w, 0.14 * h))
        self._add(0.0, 0.5 * much * brows * self._rng.choice([-1, 1]), fields.sway(self._split, FRAMES, self._rng))

    def _brightness(self, size: float) -> None:
        change = self._rng.uniform(8, 25) / 128 * self._rng.choice([-1, 1])
        self._gain = 1 + change * self._rise() * size
        self._pan(0.3)

    def _noise(self, size: float) -> None:
        self._grain = self._rng.uniform(2, 4)

    def _jpeg(self, size: float) -> None:
        self._quality = int(self._rng.integers(45, 76))
        self._zoom(0.5)

    def _combination(self, size: float) -> None:
        self._pan(0.5)
        self._zoom(0.4)
        self._head(0.6)
        self._expression(0.7)
        self._gain = 1 + self._rng.uniform(-8, 8) / 128 * self._rise()

    def _mild(self) -> None:
        mild = self._rng.choice(["pan", "zoom", "head", "expression"])
        getattr(self, f"_{mild}")(0.3)

    # ---- what creeps in
    def _drift(self) -> None:
        x, y, w, h = self._box
        mask = fields.plateau((x, y, w, h))
        for _ in range(3):
            angle, much = self._rng.uniform(0, 2 * np.pi), self._rng.uniform(0.05, 0.1) * h
            centre = (x + w * self._rng.uniform(0.25, 0.75), y + h * self._rng.uniform(0.25, 0.75))
            part = mask * fields.bump(self._split, centre, (0.4 * w, 0.4 * h))
            self._add(much * np.cos(angle) * part, much * np.sin(angle) * part, self._rise())

    def _melt(self) -> None:
        x, y, w, h = self._box
        much = self._rng.uniform(0.08, 0.18) * h
        low = fields.bump(self._split, (x + w / 2, y + 0.8 * h), (0.7 * w, 0.7 * h))
        wavy = 1 + 0.5 * np.sin(2 * np.pi * (X - x) / w * self._rng.uniform(1, 2) + self._rng.uniform(0, 6))
        self._add(0.0, -much * low * wavy, self._rise())

    def _waves(self, longest: float, shortest: float, mask: Plane | float) -> None:
        much, hertz = self._rng.uniform(1.5, 4.5), self._rng.uniform(1.5, 4)
        for axis in (0, 1):
            length, phase = self._rng.uniform(shortest, longest), self._rng.uniform(0, 6)
            along = (Y if axis == 0 else X) / length
            for index in range(FRAMES):
                wave = much * mask * np.sin(2 * np.pi * (along + hertz * index / FPS) + phase)
                (self._dx if axis == 0 else self._dy)[index] += wave * min(1.0, index / 3)

    def _wobble(self) -> None:
        self._waves(260, 110, 1.0)

    def _ripple(self) -> None:
        x, y, w, h = self._box
        self._waves(120, 50, 1 - fields.plateau((x - 0.15 * w, y - 0.15 * h, 1.3 * w, 1.3 * h)))

    # ---- what breaks
    def _broken(self) -> Labelled:
        frames = self._moved(self._of.pixels)
        last, shows = FRAMES - 1, None
        if self._kind in ("swap", "morph"):
            length = 0 if self._kind == "swap" else int(self._rng.integers(5, 11))
            frames, shows = self._replaced(frames, length), (self._start, self._start + length)
        elif self._kind == "blur":
            frames, shows = self._blurred(frames), (self._start, last)
        elif self._kind == "flicker":
            self._gain = 1 + self._rng.choice([-1, 1], FRAMES) * self._rng.uniform(0.08, 0.2, FRAMES)
        elif self._kind == "shuffled":
            self._pan(0.8)
            frames = self._moved(self._of.pixels)[self._rng.permutation(FRAMES)]
        elif self._kind in FURTHER:
            frames = self._degraded(frames)
        frames = self._seen(frames)
        if self._kind == "black":
            count = int(self._rng.choice([1, 2, FRAMES - self._start]))
            frames[self._start : self._start + count] = self._rng.integers(0, 4)
            shows = (self._start, self._start + count - 1)
        elif self._kind == "frozen":
            frames, shows = self._stopped(frames)
        return Labelled(frames, self._kind, self._of, shows)

    def _replaced(self, frames: Pixels, length: int) -> Pixels:
        """Show somebody else's face (or place) where the subject's was, from the start frame on."""
        others = [name for name in NAMES[self._split] if (subject(name).face is None) == (self._of.face is None)]
        other = subject(str(self._rng.choice([name for name in others if name != self._of.name])))
        x, y, w, h = fields.in_px(other.face or _MIDDLE)
        mine = self._box
        matrix = np.array([[w / mine[2], 0, x - mine[0] * w / mine[2]], [0, h / mine[3], y - mine[1] * h / mine[3]]])
        stranger = cv2.warpAffine(
            other.pixels,
            matrix,
            (WIDTH, HEIGHT),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        seen = self._moved(stranger)
        mask = cv2.GaussianBlur(
            fields.plateau((mine[0] + 0.1 * mine[2], mine[1] + 0.1 * mine[3], 0.8 * mine[2], 0.8 * mine[3])), (0, 0), 3
        )
        out = frames.astype(np.float32)
        for index in range(self._start, FRAMES):
            share = min(1.0, (index - self._start + 1) / (length + 1))
            out[index] += share * mask[..., None] * (seen[index] - out[index])
        return out.astype(np.uint8)

    def _blurred(self, frames: Pixels) -> Pixels:
        mask = fields.plateau(self._box)[..., None]
        most = self._rng.uniform(1.5, 3.5)
        out = frames.astype(np.float32)
        for index in range(self._start, FRAMES):
            sigma = most * min(1.0, (index - self._start + 1) / 4)
            out[index] += mask * (cv2.GaussianBlur(out[index], (0, 0), float(sigma)) - out[index])
        return out.astype(np.uint8)

    def _degraded(self, frames: Pixels) -> Pixels:
        if self._kind == "soft":
            sigma = float(self._rng.uniform(3, 5))
            return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames])
        if self._kind == "grainy":
            self._grain = float(self._rng.uniform(14, 22))
        elif self._kind == "blocky":
            self._quality = int(self._rng.integers(3, 8))
        elif self._kind == "banded":
            self._grain, self._quality = 0.0, 100
            return (frames // 32 * 32 + 16).astype(np.uint8)
        elif self._kind == "dark":
            self._gain = np.full(FRAMES, self._rng.uniform(0.12, 0.2))
        elif self._kind == "other_photo":
            others = [name for name in NAMES[self._split] if name != self._of.name]
            return self._moved(subject(str(self._rng.choice(others))).pixels)
        return frames

    def _stopped(self, frames: Pixels) -> tuple[Pixels, tuple[int, int]]:
        way = self._rng.choice(["all", "late", "doubled"])
        if way == "doubled":
            return frames[np.arange(FRAMES) // 2 * 2], (1, FRAMES - 1)
        first = 0 if way == "all" else int(self._rng.integers(2, FRAMES // 2 - 1))
        frames[first:] = frames[first]
        return frames, (first + 1, FRAMES - 1)

    # ---- how it is seen
    def _moved(self, picture: Pixels) -> Pixels:
        return np.stack(
            [
                cv2.remap(picture, X + dx, Y + dy, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT_101)
                for dx, dy in zip(self._dx, self._dy, strict=True)
            ]
        )

    def _seen(self, frames: Pixels) -> Pixels:
        out = np.empty_like(frames)
        for index, frame in enumerate(frames):
            lit = frame * np.float32(self._gain[index])
            lit += self._rng.standard_normal(frame.shape, np.float32) * np.float32(self._grain)
            kept = np.clip(lit, 0, 255).astype(np.uint8)
            _, data = cv2.imencode(".jpg", kept[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self._quality])
            out[index] = kept if self._quality == 100 else np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
        return out
