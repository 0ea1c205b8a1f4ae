"""`greenlight gif IN OUT`: an animated WebP or PNG as a GIF, every frame with its own duration, looping for ever."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from serve_app.core.errors import InvalidClip, InvalidInput, TooLarge
from serve_app.core.filetype import HEAD_BYTES, type_of
from serve_app.core.footage import Bounds
from serve_app.core.picture import BROKEN, open_animation

if TYPE_CHECKING:
    from PIL import Image as PillowImage

FILE_BYTES = 1 << 30
"""A larger animation is not read."""
_HURRIED_TICKS = 1
"""Browsers show a frame of so many 1/100 s, or fewer, for a tenth of a second."""
_SAMPLES = 8


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "gif",
        help="turn an animated WebP or PNG into a GIF",
        description="Every frame is kept with its own duration, and the GIF loops for ever. GIF counts time in 1/100 "
        "s: other durations are rounded so that no frame begins over 5 ms early or late, which is said. All frames "
        "share 256 colours, and what is less than half opaque is transparent. What made the animation, where its file "
        "says so, is kept as the GIF's comment.",
    )
    parser.add_argument("input", type=Path, metavar="IN", help="an animated WebP, PNG or GIF")
    parser.add_argument("output", type=Path, metavar="OUT", help="the GIF; what exists is not written over")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the GIF and say what it holds; return the exit code."""
    from deployments.nets.gif import Palette, ticks_of, write_gif
    from serve_app.commands.inspecting.embedded import found_in_picture

    _check_out(arguments.output)
    animation = _opened(arguments.input)
    try:
        durations, is_clear, samples = _surveyed(animation)
        comment = found_in_picture(animation).as_comment()
    except BROKEN as error:
        raise InvalidClip("IN", f"{arguments.input} is truncated or damaged: {error}") from error
    ticks, palette = ticks_of(durations), Palette.of(samples, is_clear)
    part = arguments.output.with_name(f".{arguments.output.name}.part")
    file = _begun(part)
    try:
        with file:
            write_gif(file, _pictures(animation, is_clear), ticks, palette, comment)
        part.replace(arguments.output)
    finally:
        part.unlink(missing_ok=True)
    size_bytes = arguments.output.stat().st_size
    sys.stdout.write(f"{arguments.output}: {len(ticks)} frames, {sum(ticks) / 100:g} s, {size_bytes} bytes\n")
    sys.stderr.writelines(f"warning: {warning}\n" for warning in _losses(durations, ticks))
    return 0


def _check_out(path: Path) -> None:
    if path.suffix.lower() != ".gif":
        raise InvalidInput("OUT", f"{path} does not end in .gif")
    if not path.parent.is_dir():
        raise InvalidInput("OUT", f"there is no directory {path.parent}")
    if path.exists():
        raise InvalidInput("OUT", f"{path} exists already")


def _begun(part: Path) -> BinaryIO:
    """Create the unfinished file; another's is left alone."""
    try:
        return part.open("xb")
    except FileExistsError as error:
        reason = f"{part} exists: it is being written, or was left by one that was stopped, and can then be removed"
        raise InvalidInput("OUT", reason) from error
    except OSError as error:
        raise InvalidInput("OUT", f"{part} cannot be written: {error.strerror}") from error


def _opened(path: Path) -> PillowImage.Image:
    try:
        if path.stat().st_size > FILE_BYTES:
            raise TooLarge("IN", f"{path} is {path.stat().st_size} bytes, and the limit is {FILE_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput("IN", f"{path} cannot be read: {error.strerror}") from error
    kind = type_of(data[:HEAD_BYTES])
    if kind is None or not kind.is_animated:
        what = "nothing that we know" if kind is None else kind.name
        raise InvalidClip("IN", f"{path} is {what}; a WebP, PNG or GIF animation is needed")
    try:
        return open_animation(data, kind.name, Bounds().frame_px, "IN")
    except BROKEN as error:
        raise InvalidClip("IN", f"{path} is truncated or damaged: {error}") from error


def _frames(animation: PillowImage.Image) -> Iterator[PillowImage.Image]:
    """Yield the animation itself at each of its frames; a PNG's default picture may be none of them."""
    for place in range(int(getattr(animation, "default_image", False)), getattr(animation, "n_frames", 1)):
        animation.seek(place)
        animation.load()  # a WebP's duration is known once its frame is decoded
        yield animation


def _surveyed(animation: PillowImage.Image) -> tuple[list[Fraction], bool, list[np.ndarray]]:
    """Return each frame's duration in s, whether any pixel is clear, and frames to choose colours from."""
    chosen = {round(place) for place in np.linspace(0, getattr(animation, "n_frames", 1) - 1, _SAMPLES)}
    durations, samples, is_clear = [], [], False
    for place, frame in enumerate(_frames(animation)):
        durations.append(Fraction(frame.info.get("duration") or 0) / 1000)
        if frame.has_transparency_data:
            is_clear = is_clear or frame.convert("RGBA").getchannel("A").getextrema()[0] < 128  # type: ignore[operator]
        if place in chosen:
            samples.append(np.asarray(frame.convert("RGB")))
    return durations, is_clear, samples


def _pictures(animation: PillowImage.Image, is_clear: bool) -> Iterator[PillowImage.Image]:
    return (frame.convert("RGBA" if is_clear else "RGB") for frame in _frames(animation))


def _losses(durations: list[Fraction], ticks: list[int]) -> list[str]:
    losses = []
    rounded = sum(Fraction(tick, 100) != duration for tick, duration in zip(ticks, durations, strict=True))
    if rounded:
        losses.append(
            f"{rounded} of {len(ticks)} durations are no whole 1/100 s and were rounded; their sum is true within 5 ms"
        )
    if any(tick <= _HURRIED_TICKS for tick in ticks):
        losses.append("players show frames of 0.01 s or less for 0.1 s, and this has such")
    return losses
