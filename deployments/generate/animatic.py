"""A camera move over a still photo: a real clip from no weights, for previews, tests and machines without a GPU."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from serve_app.core.media import Clip, Image, Pixels, exact_fps
from serve_app.core.resize import cover_resize
from serve_app.core.stage import Context, Strict

Plane = npt.NDArray[np.float32]
Motion = Literal["auto", "zoom", "pan", "sway", "orbit", "still"]

_ZOOM = 0.09
"""Magnification at full strength, for a picture of little detail."""
_CHANGE = 28.0
"""Mean change at full strength, in 8-bit levels: a busy picture moves less. Half strength stays below a judge's 20."""
_PARALLAX = 0.5
"""How much farther the nearest point moves than the border."""
_LEG = 72
"""Frames after which a move comes back: one slow way through a long clip would leave neighbouring frames equal."""
_PROBES = tuple(step / 23 for step in range(24))  # a prime, so that no swing has all its zeros there
_REPORT_EVERY = 8


@dataclass(frozen=True)
class Move:
    """A camera path. ``pan`` is where it ends, in -1..1 of the room that the zoom gives (x right, y down).

    ``period`` > 0 swings along ``pan`` once in about so many frames. ``is_pivot`` holds the subject and lets the border
    slide, as when a camera walks around it. ``is_reversed`` begins close and ends at the whole photo.
    """

    name: str
    pan: tuple[float, float] = (0.0, 0.0)
    period: int = 0
    is_pivot: bool = False
    is_reversed: bool = False
    scale: float = 1.0


_MOVES = {
    move.name: move
    for move in (
        Move("zoom_in"),
        Move("zoom_out", is_reversed=True),
        Move("pan_left", pan=(-1, 0)),
        Move("pan_right", pan=(1, 0)),
        Move("pan_up", pan=(0, -1)),
        Move("pan_down", pan=(0, 1)),
        Move("sway", pan=(1, 0.3), period=60),
        Move("orbit", pan=(1, 0), is_pivot=True),
        # A held camera still breathes: an exactly frozen clip is what a judge calls a failure.
        Move("still", pan=(0.6, 0.4), period=36, scale=0.4),
    )
}
_SEEDED = ("zoom_in", "pan_left", "pan_right", "sway", "orbit")
"""What a seed may choose: the moves that begin at the photo itself and suit any subject."""
_FAMILIES: dict[str, tuple[str, ...]] = {
    "auto": tuple(_MOVES),
    "zoom": ("zoom_in", "zoom_out"),
    "pan": ("pan_left", "pan_right", "pan_up", "pan_down"),
    "sway": ("sway",),
    "orbit": ("orbit",),
    "still": ("still",),
}
_CAMERA = r"\b(?:pan\w*|camera|mov\w+|slid\w+|track\w*|tilt\w*|drift\w*)\b(?:\W+\w+){0,2}?\W+"
_WORDS: tuple[tuple[str, str], ...] = (
    (r"\bzoom\w*(?:\W+\w+){0,2}?\W+out\b|\bpull\w*(?:\W+\w+)?\W+(?:back|out|away)\b|\bdolly\w*\W+out\b", "zoom_out"),
    (r"\bzoom\w*\b|\bpush\w*(?:\W+\w+)?\W+in\b|\bdolly\w*\b|\bcloser\b|\bpush\b", "zoom_in"),
    (r"\bpull\b", "zoom_out"),
    (_CAMERA + r"(?:to\W+the\W+)?left\w*\b", "pan_left"),
    (_CAMERA + r"(?:to\W+the\W+)?right\w*\b", "pan_right"),
    (_CAMERA + r"up\w*\b", "pan_up"),
    (_CAMERA + r"down\w*\b", "pan_down"),
    (r"\borbit\w*\b|\bcircl\w+\b|" + _CAMERA + r"around\b", "orbit"),
    (r"\bsway\w*\b|\bhandheld\b|\bbreath\w+\b", "sway"),
    (r"\bstill\b(?!\W+life)|\bstatic\b|\bmotionless\b|\block\w*\W+off\b", "still"),
)
"""Words of a prompt that ask for a move; the first that matches wins. Directions count only beside a camera word."""
_PACE = ((r"\bsubtl\w+\b|\bgentl\w+\b|\bslight\w*\b|\bslow\w*\b", 0.6), (r"\bdramatic\w*\b|\bstrong\w*\b", 1.5))


class Animatic:
    """Moves a camera over the photo (`generate.animatic`): an eased zoom, pan, sway or orbit with a little parallax.

    It draws nothing new, so a judge of fidelity has nothing to fear from it. The same photo, params, prompt and seed
    give the same bytes. Ports: ``prompt``, of which words for the camera are read; ``seed``, any integer, which chooses
    a move when the prompt does not, and always varies its size; ``image``, of any size. Returns ``frames`` uint8
    ``(T, H, W, 3)`` without sound. Notes ``move``; warns when a prompt has no word for the camera.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """Sizes in px; ``frames`` is any count; ``fps`` in Hz, 29.97 meaning 30000/1001; ``strength`` 0 (frozen) to 1.

        ``motion``: the camera's move; ``auto`` takes it from the prompt's words, or else from the seed.
        """

        width: int = Field(640, ge=16, le=4096)
        height: int = Field(360, ge=16, le=4096)
        frames: int = Field(49, ge=1, le=2000)
        fps: float | str = 24.0
        motion: Motion = "auto"
        strength: float = Field(0.5, ge=0.0, le=1.0)

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput naming ``fps`` when it is not a rate."""
        exact_fps(params.fps)

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, prompt: str, seed: int, image: Image) -> Clip:
        """Return a clip of ``params.frames`` frames whose first (for a zoom out: last) frame is the covered photo."""
        frames: Pixels = np.empty((params.frames, params.height, params.width, 3), np.uint8)
        at = 0
        for piece in self.stream(params, prompt=prompt, seed=seed, image=image):
            frames[at : at + piece.shape.frames] = piece.frames
            at += piece.shape.frames
        return Clip(frames=frames, fps=exact_fps(params.fps), model="animatic")

    @staticmethod
    def length(params: Params) -> int:
        """Return the number of frames that ``stream`` yields."""
        return params.frames

    def stream(self, params: Params, *, prompt: str, seed: int, image: Image) -> Iterator[Clip]:
        """Yield the clip of ``run``, up to eight frames at a time."""
        move, chosen_by = self._choose(params.motion, prompt, seed)
        size = params.strength * move.scale * (_pace(prompt) or 1.0) * (0.85 + 0.3 * random.Random(seed).random())
        rate = exact_fps(params.fps)
        rig = _Rig(cover_resize(image.pixels, params.height, params.width), move, params.frames)
        zoom = rig.fit(_ZOOM * size, _CHANGE * size)
        fact = {"name": move.name, "chosen_by": chosen_by, "zoom": round(1 + zoom, 5), "parallax": _PARALLAX}
        self._context.note("move", fact)
        for start in range(0, params.frames, _REPORT_EVERY):
            done = min(start + _REPORT_EVERY, params.frames)
            times = (index / max(1, params.frames - 1) for index in range(start, done))
            frames = np.stack([rig.shot(zoom, time) for time in times])
            self._context.progress(done, params.frames)
            yield Clip(frames=frames, fps=rate, model="animatic")

    def _choose(self, motion: Motion, prompt: str, seed: int) -> tuple[Move, str]:
        """Return the move and who chose it: the prompt where it can, else the seed, both within ``motion``'s family."""
        family = _FAMILIES[motion]
        asked = next((name for words, name in _WORDS if re.search(words, prompt, re.IGNORECASE)), None)
        if asked in family:
            return _MOVES[asked], "prompt"
        offer = [name for name in _SEEDED if name in family] or list(family)
        move = _MOVES[offer[random.Random(f"move {seed}").randrange(len(offer))]]
        if asked is not None:
            self._context.warn(f"the prompt asks for {asked}, and motion={motion} allows only {', '.join(family)}")
        elif prompt.strip() and _pace(prompt) is None:
            self._context.warn(
                f"an animatic reads only words for the camera, and the prompt has none: {move.name} it is"
            )
        return move, "motion" if len(family) == 1 else "seed"


def _pace(prompt: str) -> float | None:
    """Return the factor on the size of a move that the prompt asks for, or None when it says nothing of that."""
    return next((factor for words, factor in _PACE if re.search(words, prompt, re.IGNORECASE)), None)


class _Rig:
    """A camera before ``photo``: renders what it sees at any time of ``move``."""

    def __init__(self, photo: Pixels, move: Move, count: int) -> None:
        height, width = photo.shape[:2]
        self._photo, self._fine, self._move = photo, _twice(photo), move
        self._cycles = max(1, round(count / move.period)) if move.period else 0
        self._legs = max(1, round(count / _LEG))
        self._centre_x, self._centre_y = np.float32((width - 1) / 2), np.float32((height - 1) / 2)
        self._across = np.arange(width, dtype=np.float32)[None, :] - self._centre_x
        self._along = np.arange(height, dtype=np.float32)[:, None] - self._centre_y
        near = _nearness(height, width)
        self._lift = 1 + _PARALLAX * near
        self._lean = 1 - near if move.is_pivot else self._lift

    def shot(self, zoom: float, time: float, stride: int = 1) -> Pixels:
        """Return the frame at ``time`` 0..1 of a move that magnifies by ``1 + zoom``; every ``stride``-th px of it."""
        import cv2

        level, x, y = self._camera(zoom, time)
        lift, lean = self._lift[::stride, ::stride], self._lean[::stride, ::stride]
        shrink = 1 / (1 + np.float32(level) * lift)
        at_x = 2 * (self._across[:, ::stride] * shrink + np.float32(x * self._centre_x) * lean + self._centre_x)
        at_y = 2 * (self._along[::stride] * shrink + np.float32(y * self._centre_y) * lean + self._centre_y)
        frame = cv2.remap(self._fine, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(frame, np.uint8)

    def fit(self, zoom: float, change: float) -> float:
        """Return ``zoom``, or the smaller one whose frames differ from the photo by at most ``change`` levels."""
        for _ in range(12):
            most = max(self._change(zoom, time) for time in _PROBES)
            if most <= change:
                break
            zoom *= change / most  # change is concave in zoom, so this comes down towards the limit and not past it
        return zoom

    def _change(self, zoom: float, time: float) -> float:
        import cv2

        shot = self.shot(zoom, time, stride=4)
        still = np.ascontiguousarray(self._photo[::4, ::4])
        return float(cv2.norm(shot, still, cv2.NORM_L1)) / shot.size

    def _camera(self, zoom: float, time: float) -> tuple[float, float, float]:
        """Return magnification less 1, and the shift in half widths and half heights, at ``time`` 0..1.

        Eased, but never at rest: a camera that starts from zero speed would give duplicate frames at both ends.
        """
        way = min(1.0, self._cycles * time) if self._cycles else 1 - abs(1 - self._legs * time % 2)
        eased = way - 0.3 * math.sin(2 * math.pi * way) / (2 * math.pi)
        eased = 1 - eased if self._move.is_reversed else eased
        swing = math.sin(2 * math.pi * self._cycles * time) if self._cycles else 1.0
        room = (1 - 1 / (1 + zoom)) * eased * swing  # what the zoom leaves outside the frame: the border stays covered
        return zoom * eased, self._move.pan[0] * room, self._move.pan[1] * room


def _nearness(height: int, width: int) -> Plane:
    """Return ``(H, W)`` in 0..1, a guess at depth that suits most photos: near at the centre and below, else far."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    rise = np.clip((y + 1) / 1.2, 0, 1)
    near: Plane = ((1 - x * x) ** 2 * rise * rise * (3 - 2 * rise)).astype(np.float32)
    return near


def _twice(photo: Pixels) -> Pixels:
    """Return the photo on a grid twice as fine, whose even rows and columns are the photo's own.

    `cv2.remap` rounds positions to 1/32 of a sample, which would make a slow move step; and a cubic kernel on this grid
    keeps fine detail equally sharp at every phase, so that the picture does not shimmer as it glides.
    """
    import cv2

    height, width = photo.shape[:2]
    half = np.array([[0.5, 0, 0], [0, 0.5, 0]], np.float32)
    flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    size = (2 * width - 1, 2 * height - 1)
    return np.asarray(cv2.warpAffine(photo, half, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101), np.uint8)
