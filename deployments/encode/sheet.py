"""The evidence at a glance: the photo beside the frames that a judge inspected, and what it found."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Clip, Image, Pixels
from serve_app.core.resize import cover_resize
from serve_app.core.score import Checkpoint, Score, Verdict
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_GROUND, _PANEL, _LINE = "#14171c", "#1d2128", "#303640"
_TEXT, _MUTED, _ON_CHIP = "#f1f3f6", "#98a1af", "#0e1114"
_GREEN, _AMBER, _RED = "#45c486", "#f0b23e", "#f26d6d"
_COLOURS = {Verdict.PASS: _GREEN, Verdict.WARN: _AMBER, Verdict.FAIL: _RED, Verdict.REJECT: _RED}
_MARGIN, _GAP, _PAD = 40, 24, 14
_HEADER, _CAPTION, _ROW = 128, 46, 48


class ContactSheet:
    """Draws a PNG of the photo, the checkpoint frames with their values, and the findings (`encode.sheet`).

    The photo is shown covered and cropped as the judge compared it. A judge without checkpoints has five frames shown,
    evenly spread, without values. The same inputs give the same bytes. Facts: ``width``, ``height`` (px), ``judge``,
    ``verdict``, ``points``, ``model``. Raises InvalidInput for a clip that holds nothing.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """``width_px`` of the sheet; its height follows from what is shown. ``name``: the file's, less .png."""

        width_px: int = Field(1600, ge=960, le=4096)
        name: str = Field("sheet", pattern=r"^\w[\w .-]{0,79}$")

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, clip: Clip, score: Score, image: Image | None = None) -> Artifact:
        """Return the sheet's artifact, ``image/png``."""
        if clip.frames.size == 0:
            raise InvalidInput("clip", f"{clip.shape} holds nothing to show")
        sheet = _Sheet(params.width_px, clip, score, image).draw()
        data = io.BytesIO()
        sheet.save(data, format="PNG", optimize=False, compress_level=6)
        facts = {"width": sheet.width, "height": sheet.height, "judge": score.judge, "model": clip.model}
        facts |= {"verdict": score.verdict.word, "points": round(score.points, 3)}
        return self._context.artifacts.put_bytes(data.getvalue(), "image/png", f"{params.name}.png", facts)


class _Sheet:
    """One sheet: measures its rows first, then draws them from the top."""

    def __init__(self, width: int, clip: Clip, score: Score, image: Image | None) -> None:
        self._width, self._clip, self._score, self._image = width, clip, score, image
        self._shots = score.checkpoints or _spread(len(clip.frames))
        shape = clip.shape
        self._tiles_shown = len(self._shots) + (image is not None)
        self._columns = _columns(shape.width / shape.height, self._tiles_shown)
        self._tile = (width - 2 * _MARGIN - (self._columns - 1) * _GAP) // self._columns
        self._tall = max(1, round(self._tile * shape.height / shape.width))
        self._is_roomy = self._tile >= 400
        self._raised = sorted((f for f in score.findings if f.verdict), key=lambda f: -f.verdict)
        self._passed = ", ".join(f.detector for f in score.findings if f.verdict is Verdict.PASS)

    def draw(self) -> PillowImage.Image:
        """Return the sheet as an RGB picture."""
        from PIL import Image as PillowImage
        from PIL import ImageDraw

        rows = -(-self._tiles_shown // self._columns)
        cell = self._tall + _CAPTION + _GAP
        reasons = [_wrapped(f.reason, self._width - 2 * _MARGIN - 330, 20) for f in self._raised]
        heights = [_ROW + 26 * (len(lines) - 1) for lines in reasons]
        findings_top = _HEADER + rows * cell + 8
        height = findings_top + sum(heights) + (_ROW if self._passed else 0) + _MARGIN - 16
        self._sheet = PillowImage.new("RGB", (self._width, height), _GROUND)
        self._pen = ImageDraw.Draw(self._sheet)
        self._header()
        self._tiles(cell)
        top = findings_top
        for finding, lines, tall in zip(self._raised, reasons, heights, strict=True):
            self._row(top, finding.verdict, finding.detector, lines)
            top += tall
        if self._passed:
            self._row(top, Verdict.PASS, self._passed, [])
        return self._sheet

    def _header(self) -> None:
        score, shape = self._score, self._clip.shape
        middle = _HEADER // 2
        right = self._chip(_MARGIN, middle, score.verdict.word.upper(), _COLOURS[score.verdict], 30)
        self._text((right + 22, middle - 17), f"{score.points:.1f} of 100 points", 30, _TEXT, "lm")
        self._text((right + 22, middle + 19), f"judge {score.judge}, {score.label.lower()}", 21, _MUTED, "lm")
        rate = f"{float(self._clip.fps):.5g} fps"
        size = f"{shape.width} x {shape.height}, {shape.frames} frames at {rate}, {self._clip.duration_s:.2f} s"
        edge = self._width - _MARGIN
        self._text((edge, middle - 17), _shortened(self._clip.model, 48), 30, _TEXT, "rm")
        self._text((edge, middle + 19), size, 21, _MUTED, "rm")

    def _tiles(self, cell: int) -> None:
        place = 0
        if self._image is not None:
            left, top = self._place(place, cell)
            self._picture(left, top, self._image.pixels)
            self._caption(left, top, "photo", None)
            place += 1
        for shot in self._shots:
            left, top = self._place(place, cell)
            frame = min(shot.frame, len(self._clip.frames) - 1)
            self._picture(left, top, self._clip.frames[frame])
            time = f"  /  {float(frame / self._clip.fps):.2f} s" if self._is_roomy else ""
            self._caption(left, top, f"frame {frame}{time}", shot)
            place += 1

    def _place(self, place: int, cell: int) -> tuple[int, int]:
        row, column = divmod(place, self._columns)
        return _MARGIN + column * (self._tile + _GAP), _HEADER + row * cell

    def _picture(self, left: int, top: int, pixels: Pixels) -> None:
        from PIL import Image as PillowImage

        box = (left, top, left + self._tile - 1, top + self._tall + _CAPTION - 1)
        self._pen.rectangle(box, fill=_PANEL)
        small = cover_resize(np.ascontiguousarray(pixels), self._tall, self._tile)
        self._sheet.paste(PillowImage.fromarray(small), (left, top))

    def _caption(self, left: int, top: int, words: str, shot: Checkpoint | None) -> None:
        middle, size = top + self._tall + _CAPTION // 2, 20 if self._is_roomy else 16
        self._text((left + _PAD, middle), words, size, _MUTED, "lm")
        if shot is None or not shot.label:
            return
        colour = {"OK": _GREEN, "PASS": _GREEN, "EXCELLENT": _GREEN, "WARN": _AMBER}.get(shot.label, _RED)
        edge = self._chip(left + self._tile - 10, middle, shot.label, colour, size - 4, from_right=True)
        unit = f" {shot.unit}" if self._is_roomy else ""
        self._text((edge - 10, middle), f"{shot.value:.2f}{unit}", size, _TEXT, "rm")

    def _row(self, top: int, verdict: Verdict, title: str, lines: list[str]) -> None:
        self._pen.line((_MARGIN, top, self._width - _MARGIN, top), fill=_LINE)
        middle = top + _ROW // 2
        self._chip(_MARGIN, middle, verdict.word.upper(), _COLOURS[verdict], 16)
        self._text(
            (_MARGIN + 110, middle), _shortened(title, 18 if lines else 120), 20, _TEXT if lines else _MUTED, "lm"
        )
        for index, line in enumerate(lines):
            self._text((_MARGIN + 330, middle + 26 * index), line, 20, _TEXT, "lm")

    def _text(self, at: tuple[int, int], words: str, size: int, colour: str, anchor: str) -> None:
        from PIL import ImageFont

        self._pen.text(at, words, fill=colour, font=ImageFont.load_default(size), anchor=anchor)

    def _chip(self, x: int, middle: int, word: str, colour: str, size: int, from_right: bool = False) -> int:
        """Draw a rounded label that begins (or, ``from_right``, ends) at ``x``; return its other edge."""
        from PIL import Image as PillowImage
        from PIL import ImageDraw, ImageFont

        wide = round(ImageFont.load_default(size).getlength(word)) + round(1.1 * size)
        tall = round(1.6 * size)
        left = x - wide if from_right else x
        mask = PillowImage.new("L", (4 * wide, 4 * tall))  # drawn four times as large: Pillow's own corners are jagged
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * wide - 1, 4 * tall - 1), radius=round(1.4 * tall), fill=255)
        mask = mask.resize((wide, tall), PillowImage.Resampling.BOX)
        self._sheet.paste(PillowImage.new("RGB", (wide, tall), colour), (left, middle - tall // 2), mask)
        baseline = middle - tall // 2 + (tall + round(0.71 * size)) // 2  # capitals centred: "mm" counts descenders too
        self._text((left + wide // 2, baseline), word, size, _ON_CHIP, "ms")
        return left if from_right else left + wide


def _columns(aspect: float, tiles: int) -> int:
    """Return how many tiles fit side by side at a readable size, with the fewest places left empty."""
    choices = (3,) if aspect > 1.2 else (3, 5, 4) if aspect > 0.8 else (6, 5)
    return min(choices, key=lambda columns: -tiles % columns)


def _spread(count: int) -> tuple[Checkpoint, ...]:
    """Return up to five frames, evenly spread, with nothing measured."""
    return tuple(Checkpoint(frame, 0.0, "", "") for frame in sorted({round(i * (count - 1) / 4) for i in range(5)}))


def _shortened(words: str, most: int) -> str:
    return words if len(words) <= most else f"{words[: most - 3]}..."


def _wrapped(words: str, width_px: int, size: int) -> list[str]:
    """Break ``words`` into lines of at most ``width_px`` px."""
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width_px:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
