"""What an examination needs of a clip's full-size frames, taken chunk by chunk; all else it finds on the small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from deployments.metrics.looks import Looks, LooksPart, look_at, looks_from
from deployments.metrics.scale import grey_of
from deployments.metrics.seed_score import checkpoints_of, pixel_diff, seed_score
from deployments.metrics.still import laplacian_variance, light
from serve_app.core.media import Clip, Pixels, VideoShape
from serve_app.core.streaming import Chunk


@dataclass(frozen=True)
class Sight:
    """What one chunk shows of a clip of ``shape`` at ``fps`` Hz.

    ``looks`` is None where there is no clip to look at. ``differences`` from the photo, in levels, at those checkpoints
    that are here; ``classic``, the classic score of the middle frame, if that is here; ``first``, frame 0 as it is, for
    a clip without a photo.
    """

    shape: VideoShape
    fps: Fraction
    looks: LooksPart | None
    differences: dict[int, float]
    classic: float | None
    first: Pixels | None


@dataclass(frozen=True)
class Sights:
    """What all chunks show together."""

    shape: VideoShape
    fps: Fraction
    parts: tuple[Sight, ...]

    @property
    def looks(self) -> Looks:
        """One look at every frame. Only for a clip that is one."""
        parts = [part.looks for part in self.parts if part.looks is not None]
        return looks_from(parts, (self.shape.height, self.shape.width))

    @property
    def differences(self) -> dict[int, float]:
        """The difference from the photo at every checkpoint, in order."""
        return {at: value for part in self.parts for at, value in part.differences.items()}

    @property
    def classic(self) -> float:
        """The classic score of the middle frame."""
        return next(part.classic for part in self.parts if part.classic is not None)


def is_clip(shape: VideoShape) -> bool:
    """Whether there are two frames to look at, of one pixel at least."""
    return shape.frames > 1 and shape.height * shape.width > 0


def sight_of(chunk: Chunk, photo: Pixels | None, each: Callable[[int, int], None]) -> Sight:
    """Look at a chunk; ``photo`` is covered to its frames. ``each`` is told (frames seen, frames)."""
    frames = chunk.clip.frames
    shape = VideoShape(chunk.of, chunk.clip.shape.height, chunk.clip.shape.width)
    if not is_clip(shape):
        return Sight(shape, chunk.clip.fps, None, {}, None, None)
    looks = look_at(chunk, lambda seen: each(seen, len(frames)))
    here = range(chunk.first, chunk.first + len(frames))
    places = [] if photo is None else [at for at in checkpoints_of(chunk.of) if at in here]
    differences = {at: pixel_diff(frames[at - chunk.first], photo) for at in places if photo is not None}
    classic = None
    if chunk.of // 2 in here:
        grey = grey_of(frames[chunk.of // 2 - chunk.first])
        classic = seed_score(laplacian_variance(grey), *light(grey))
    first = frames[0].copy() if photo is None and chunk.first == 0 else None
    return Sight(shape, chunk.clip.fps, looks, differences, classic, first)


def sights_of(parts: Sequence[Sight]) -> Sights:
    """Put the chunks of one clip together, in order."""
    return Sights(parts[0].shape, parts[0].fps, tuple(parts))


def sights_in(clip: Clip, photo: Pixels | None, each: Callable[[int, int], None]) -> Sights:
    """Look at a whole clip."""
    return sights_of([sight_of(Chunk.whole(clip), photo, each)])
