"""Clips in chunks: how a stage may take or give a clip piece by piece, and cutting and joining them.

A stage needs to know none of this: a clip is joined for it, and what it makes is cut. What it may offer, beside `run`:

    chunk_port = "clip"
        Which port the rest is about, where several take a clip. It comes in chunks while the others stay open.
    is_chunkwise = True
        Every frame is worked on by itself, so `run` may be called once per chunk; it keeps the number of frames. A gate
        that says so is called with the first chunk alone, and the others are handed on as they are.
    stream(params, **ports) -> Iterator[Clip]  with the staticmethod  length(params) -> int
        The clip that `run` would return, piece by piece, of any sizes, ``length`` frames in all.
    part(params, **ports) -> Any               with  gather(params, **ports) -> what `run` returns
        `part` is given a `Chunk` in the place of its one clip, and returns a value that can be pickled; parts may be
        made in any order, and on other replicas. `gather` is given the list of all parts there, in order. Together
        they return what `run` does. With `wants_before = True` a chunk comes with the frame before it. Where the
        staticmethod `folds(params, weights) -> bool` says no, `run` is called instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from serve_app.core.errors import Misconfigured
from serve_app.core.media import Clip, Pixels


@dataclass(frozen=True)
class Chunk:
    """Frames ``first`` to ``first + T - 1``, T above 0, of a clip of ``of`` frames.

    ``before`` is frame ``first - 1`` ``(H, W, 3)`` for a stage that wants it; None at the beginning of the clip. The
    sound of the whole clip rides with one of its chunks, whichever that is.
    """

    clip: Clip
    first: int
    of: int
    before: Pixels | None = None

    @classmethod
    def whole(cls, clip: Clip) -> Chunk:
        """Return a clip as the one chunk that it consists of."""
        return cls(clip, 0, clip.shape.frames)


@dataclass(frozen=True)
class Ways:
    """What a stage offers for clips in chunks.

    ``clip_port`` is its one port that takes a clip, or of several the one that it names.
    """

    clip_port: str | None = None
    is_producer: bool = False
    """Its clip is one of its own making, which may be cut as it comes."""
    streams: bool = False
    is_chunkwise: bool = False
    is_folding: bool = False
    wants_before: bool = False


NO_WAYS = Ways()
"""It neither takes a clip nor gives one."""


def ways_of(name: str, stage: type, ports: Mapping[str, type], output: type) -> Ways:
    """Read what ``stage`` offers; ``ports`` are `run`'s with their types. Raise Misconfigured for half of an offer."""
    clips = [port for port, kind in ports.items() if kind is Clip]
    clip_port = getattr(stage, "chunk_port", clips[0] if len(clips) == 1 else None)
    if clip_port is not None and clip_port not in clips:
        raise Misconfigured(name, f"chunk_port is {clip_port!r}, and no port of that name takes a clip")
    is_chunkwise = bool(getattr(stage, "is_chunkwise", False))
    for one, other in (("part", "gather"), ("stream", "length")):
        if hasattr(stage, one) != hasattr(stage, other):
            raise Misconfigured(name, f"of {one} and {other}, the stage has but one")
    for method in ("stream", "part", "gather"):
        _check_ports(name, stage, method, ports)
    streams, is_folding = hasattr(stage, "stream"), hasattr(stage, "part")
    if (is_chunkwise or is_folding) and clip_port is None:
        raise Misconfigured(name, f"a stage that works on chunks has one port for a clip, not {len(clips)}")
    if (is_chunkwise or streams) and output is not Clip:
        raise Misconfigured(name, f"it gives a {output.__name__}, and only a clip can be given in chunks")
    if is_folding and (is_chunkwise or getattr(stage, "gates", None) is not None):
        other = "is chunkwise" if is_chunkwise else "is a gate"
        raise Misconfigured(name, f"a stage with part and gather {other} as well, and can be called in but one way")
    is_producer = output is Clip and not is_chunkwise and getattr(stage, "gates", None) is None
    wants_before = bool(getattr(stage, "wants_before", False))
    return Ways(clip_port, is_producer, streams, is_chunkwise, is_folding, wants_before)


def _check_ports(name: str, stage: type, method: str, ports: Mapping[str, type]) -> None:
    function = getattr(stage, method, None)
    if function is None:
        return
    parameters = inspect.signature(function).parameters.values()
    taken = {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    if taken != set(ports):
        raise Misconfigured(f"{name}.{method}", f"takes {', '.join(sorted(taken))}; run's are {', '.join(ports)}")


def joined(clips: Sequence[Clip]) -> Clip:
    """Return the clip that ``clips`` are the chunks of; a single one itself. Raise ValueError where they do not fit."""
    first = clips[0]
    if len(clips) == 1:
        return first
    alike = {(clip.frames.shape[1:], clip.fps, clip.model) for clip in clips}
    if len(alike) != 1:
        raise ValueError(f"chunks of one clip differ in size, rate or model: {sorted(map(str, alike))}")
    sounds = [clip.audio for clip in clips if clip.audio is not None]
    if len(sounds) > 1:
        raise ValueError(f"the sound rides with one chunk, not with {len(sounds)}")
    origin = next((clip.origin for clip in clips if clip.origin), first.origin)
    frames = np.concatenate([clip.frames for clip in clips])
    return replace(first, frames=frames, audio=sounds[0] if sounds else None, origin=origin)


def count_of(frames: int, chunk_frames: int) -> int:
    """Return how many chunks a clip of ``frames`` has: what is left over, if under half a chunk, joins the last one.

    A segment of one or two frames would be encoded badly. An empty clip is one chunk.
    """
    return max(1, (frames + chunk_frames // 2) // chunk_frames)


def span_of(index: int, frames: int, chunk_frames: int) -> tuple[int, int]:
    """Return the first frame of chunk ``index`` of a clip of ``frames``, and how many it has."""
    first = index * chunk_frames
    is_last = index + 1 == count_of(frames, chunk_frames)
    return first, frames - first if is_last else chunk_frames


def cut(pieces: Iterable[Clip], chunk_frames: int, of: int) -> Iterator[Clip]:
    """Yield ``pieces`` of any sizes as the chunks of a clip of ``of`` frames (`span_of`).

    A chunk is there as soon as its frames are. One that lies in a single piece is a view, and sound stays with the
    first frame that it came with. Raise ValueError unless the frames are ``of`` in all, in pieces of one at least.
    """
    waiting: list[Clip] = []
    seen = index = 0
    for piece in pieces:
        if piece.shape.frames == 0 < of:
            raise ValueError("a piece of a clip holds no frame")
        seen += piece.shape.frames
        if seen > of:
            break
        waiting.append(piece)
        while index < count_of(of, chunk_frames) and _held(waiting) >= (wanted := span_of(index, of, chunk_frames)[1]):
            chunk, waiting = (joined(waiting), []) if _held(waiting) == wanted else _taken(waiting, wanted)
            index += 1
            yield chunk
    if seen != of:
        raise ValueError(f"{of} frames were promised, and {'more' if seen > of else seen} came")


def _held(waiting: list[Clip]) -> int:
    return sum(piece.shape.frames for piece in waiting)


def _taken(waiting: list[Clip], count: int) -> tuple[Clip, list[Clip]]:
    """Return the first ``count`` frames of ``waiting``, above 0, as one clip, and what is left."""
    parts, left = [], list(waiting)
    while count:
        piece = left.pop(0)
        if piece.shape.frames > count:
            left.insert(0, replace(piece, frames=piece.frames[count:], audio=None))
            piece = replace(piece, frames=piece.frames[:count])
        count -= piece.shape.frames
        parts.append(piece)
    return joined(parts), left
