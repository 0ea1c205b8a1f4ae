"""Clip to file: MP4 (H.264, HEVC or AV1, and AAC), or an animated WebP or GIF with true durations."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput, StageFailed
from serve_app.core.media import Audio, Clip, VideoShape
from serve_app.core.origin import Origin, as_text, signed
from serve_app.core.stage import Context, Strict
from serve_app.core.streaming import Chunk

if TYPE_CHECKING:
    from deployments.nets.codecs import Knobs
    from deployments.nets.mp4 import Coding, Segment

_MEDIA_TYPES = {"mp4": "video/mp4", "webp": "image/webp", "gif": "image/gif"}
_OWN: dict[str, frozenset[str]] = {
    "mp4": frozenset({"codec", "encoder", "bit_depth", "crf", "preset", "bitrate_bps", "audio_bitrate_bps"}),
    "webp": frozenset({"quality"}),
    "gif": frozenset(),
}
"""The params that have an effect in each format; the others must not be given."""
_REPORT_EVERY = 8
_PALETTE_FRAMES = 8

Show = Callable[[int], None]


@dataclass(frozen=True)
class Reel:
    """One chunk of a clip, encoded, and what the whole file needs to know of the clip: its sound rides with one."""

    segment: Segment
    coding: Coding
    shape: VideoShape
    model: str
    origin: Origin
    audio: Audio | None


class VideoEncoder:
    """Encodes a clip into an artifact (`encode.video`); the same clip and params give the same bytes.

    MP4: H.264, which every browser plays, HEVC or AV1 in 4:2:0, converted with and tagged as BT.709 in limited range,
    at the clip's exact rate (30000/1001 is not 29.97), the index before the data so that playback starts at once. Sound
    is AAC, mono or stereo, at its own rate where AAC has it and else at 48000 Hz, cut or filled with silence to the
    length of the picture.
    WebP and GIF: each frame has its own duration in whole ms or 1/100 s, rounded so that the sum is right; they loop
    for ever, have no sound (a warning says so), and GIF shares one palette of 256 colours, so that nothing flickers.

    Unless ``embed`` is false, what made the clip (its origin: stage, model, seed, prompt, params, adapters) is written
    into the file as JSON: in MP4 and GIF as the comment, in WebP as EXIF's ImageDescription. ``greenlight inspect``
    reads it again.

    Facts of the artifact: ``width``, ``height`` (px), ``frames``, ``fps`` (``"30000/1001"``), ``duration_s``,
    ``codec``, ``has_audio``, ``model``. Raises InvalidInput for what the format cannot hold: odd sizes in an mp4,
    an empty clip, sound of more than two channels; and for an encoder that is not there.

    A clip that comes in chunks is encoded by x264 in as many segments, each from a key frame on, and put together
    without encoding again: the same frames, rate and sound, and other bytes than in one go (see the design document).
    For other encoders, and for animations, which share their colours, the clip is joined first.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """``crf`` 1 (best) to 51, or 63 for av1; 18, 22 or 30 unless it or ``bitrate_bps`` (bit/s) is given.

        A crf of 0 is left out: it is lossless, in a profile that browsers do not play. ``preset`` is ``fast`` because
        it takes a fifth less time than x264's own default for the same size and error (720p, 2 threads); the words are
        x264's, and stand for numbers in av1. ``format`` is the file's, ``codec`` that of the picture in an mp4: hevc
        plays where the device has a decoder, av1 in most browsers. ``encoder``: ``nvenc`` is a GPU's, which must be
        there; ``auto`` takes it if it is, and the report says which it was. ``bit_depth`` 10 is for hevc and av1.
        ``audio_bitrate_bps`` (bit/s) is that of an mp4's sound, ``quality`` 0..100 is WebP's. ``embed``: whether to
        write into the file what made it. ``name`` is the file's without its ending.
        """

        format: Literal["mp4", "webp", "gif"] = "mp4"
        codec: Literal["h264", "hevc", "av1"] = "h264"
        encoder: Literal["software", "nvenc", "auto"] = "software"
        bit_depth: Literal[8, 10] = 8
        crf: int | None = Field(None, ge=1, le=63)
        bitrate_bps: int | None = Field(None, ge=50_000, le=200_000_000)
        preset: Literal["ultrafast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = "fast"
        audio_bitrate_bps: int = Field(160_000, ge=32_000, le=512_000)
        quality: int = Field(90, ge=0, le=100)
        embed: bool = True
        name: str = Field("video", pattern=r"^\w[\w .-]{0,79}$")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput for a param that the format has no use for, or two that exclude each other.

        So for an encoder that this build of FFmpeg lacks. Whether a GPU is there is known when the clip is.
        """
        for name in sorted(params.model_fields_set - {"format", "name", "embed"} - _OWN[params.format]):
            raise InvalidInput(name, f"has no effect in {params.format}; leave it out")
        if params.format == "mp4":
            _check_codec(params)
        if params.crf is not None and params.bitrate_bps is not None:
            raise InvalidInput("crf", "either a quality (crf) or a rate (bitrate_bps) can be held, not both")

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Artifact:
        """Return the artifact of the encoded clip; its temporary file is removed whatever happens."""
        self.plan(params)
        _check(params, clip)
        for warning in _losses(params, clip.audio, clip.fps):
            self._context.warn(warning)
        with _temporary(self._context.scratch, params.format) as path:
            if params.format == "mp4":
                coding = _coding(params, clip)
                self._context.note("video", coding.knobs.as_note())
                _write_mp4(path, clip, coding, params, self._show(clip))
                _read_back(path, clip.shape, clip.fps)
            else:
                _write_animation(path, clip, params, self._show(clip))
            return self._stored(path, params, _facts(params, clip.shape, clip.fps, clip.model, clip.audio))

    @staticmethod
    def folds(params: Params, weights: Weights) -> bool:
        """Whether segments can be put together: x264's can; an animation shares its colours."""
        return params.format == "mp4" and params.codec == "h264" and params.encoder == "software"

    def part(self, params: Params, *, clip: Chunk) -> Reel:
        """Encode one chunk as a segment."""
        from deployments.nets.mp4 import segment_of

        _check(params, clip.clip)
        coding = _coding(params, clip.clip)
        segment = segment_of(clip.clip.frames, clip.first, coding, self._show(clip.clip))
        shape = VideoShape(clip.of, coding.height, coding.width)
        return Reel(segment, coding, shape, clip.clip.model, clip.clip.origin, clip.clip.audio)

    def gather(self, params: Params, *, clip: Sequence[Reel]) -> Artifact:
        """Return the artifact of the segments, in order, with their sound."""
        from deployments.nets.mp4 import Film, Label

        self.plan(params)
        first, audio = clip[0], next((reel.audio for reel in clip if reel.audio is not None), None)
        for warning in _losses(params, audio, first.coding.fps):
            self._context.warn(warning)
        self._context.note("video", first.coding.knobs.as_note())
        label = Label(params.name, _comment(params, first.model, first.origin))
        with _temporary(self._context.scratch, params.format) as path:
            with Film(str(path), first.coding, label) as film:
                if audio is not None:
                    film.add_sound(audio, first.shape.frames, params.audio_bitrate_bps)
                film.put([reel.segment for reel in clip])
            _read_back(path, first.shape, first.coding.fps)
            facts = _facts(params, first.shape, first.coding.fps, first.model, audio)
            return self._stored(path, params, facts)

    def _stored(self, path: Path, params: Params, facts: dict[str, Any]) -> Artifact:
        name = f"{params.name}.{params.format}"
        return self._context.artifacts.put_file(path, _MEDIA_TYPES[params.format], name, facts)

    def _show(self, clip: Clip) -> Show:
        def show(done: int) -> None:
            if done % _REPORT_EVERY == 0 or done == len(clip.frames):
                self._context.progress(done, len(clip.frames))

        return show


def _check_codec(params: VideoEncoder.Params) -> None:
    from deployments.nets.codecs import CODECS, check

    codec = CODECS[params.codec]
    if params.crf is not None and params.crf > codec.most_crf:
        raise InvalidInput("crf", f"{params.crf} is above {codec.most_crf}, the most of {codec.label}")
    if params.bit_depth not in codec.bit_depths:
        raise InvalidInput(
            "bit_depth", f"browsers do not play {codec.label} of {params.bit_depth} bits; use hevc or av1"
        )
    check(codec, params.encoder)


def _check(params: VideoEncoder.Params, clip: Clip) -> None:
    from deployments.nets.codecs import CODECS

    shape = clip.shape
    if clip.frames.size == 0:
        raise InvalidInput("clip", f"{shape} holds nothing to encode")
    if params.format != "mp4":
        return
    codec = CODECS[params.codec]
    for name, length in (("width", shape.width), ("height", shape.height)):
        if length % 2:
            raise InvalidInput(name, f"{length} px is odd, and 4:2:0 needs even sizes")
        if length < codec.least_px:
            raise InvalidInput(name, f"{length} px; {codec.label} takes {codec.least_px} at least")
    if clip.audio is not None and clip.audio.samples.shape[0] not in (1, 2):
        raise InvalidInput("audio", f"{clip.audio.samples.shape[0]} channels; mono and stereo can be encoded")
    if clip.audio is not None and not np.isfinite(clip.audio.samples).all():
        raise InvalidInput("audio", "some samples are not finite")


def _losses(params: VideoEncoder.Params, audio: Audio | None, fps: Fraction) -> list[str]:
    """Say what of the clip or the params will not be in the file."""
    losses = []
    if audio is not None and params.format != "mp4":
        losses.append(f"the sound is left out: {params.format} has none")
    if audio is None and "audio_bitrate_bps" in params.model_fields_set:
        losses.append("audio_bitrate_bps has no effect: the clip has no sound")
    if params.format == "gif" and fps > 50:
        losses.append(f"GIF players slow down above 50 fps, and the clip has {float(fps):.5g}")
    return losses


def _facts(
    params: VideoEncoder.Params, shape: VideoShape, fps: Fraction, model: str, audio: Audio | None
) -> dict[str, Any]:
    return {
        "width": shape.width,
        "height": shape.height,
        "frames": shape.frames,
        "fps": f"{fps.numerator}/{fps.denominator}",
        "duration_s": float(shape.frames / fps),
        "codec": params.codec if params.format == "mp4" else params.format,
        "has_audio": audio is not None and params.format == "mp4",
        "model": model,
    }


@contextmanager
def _temporary(directory: Path, suffix: str) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix="encode-", suffix=f".{suffix}", dir=directory)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)  # the store may have moved it away


def _write_mp4(path: Path, clip: Clip, coding: Coding, params: VideoEncoder.Params, show: Show) -> None:
    from deployments.nets.mp4 import Film, Label

    with Film(str(path), coding, Label(params.name, _comment(params, clip.model, clip.origin))) as film:
        if clip.audio is not None:
            film.add_sound(clip.audio, len(clip.frames), params.audio_bitrate_bps)
        film.encode(clip.frames, show)


def _coding(params: VideoEncoder.Params, clip: Clip) -> Coding:
    from deployments.nets.mp4 import coding_of

    return coding_of(clip, _knobs(params))


def _knobs(params: VideoEncoder.Params) -> Knobs:
    """Return what is in effect: the encoder that is there, and a constant quality or a rate in bit/s."""
    from deployments.nets.codecs import CODECS, Knobs, chosen

    codec = CODECS[params.codec]
    crf = codec.crf if params.crf is None else params.crf
    encoder = chosen(codec, params.encoder, params.bit_depth)
    held = None if params.bitrate_bps is not None else crf
    return Knobs(codec, encoder, params.bit_depth, params.preset, held, params.bitrate_bps)


def _made_from(params: VideoEncoder.Params, model: str, origin: Origin) -> dict[str, Any]:
    return {**({"model": model} if model else {}), **origin} if params.embed else {}


def _comment(params: VideoEncoder.Params, model: str, origin: Origin) -> str:
    made_from = _made_from(params, model, origin)
    return signed(made_from) if made_from else ""


def _read_back(path: Path, shape: VideoShape, fps: Fraction) -> None:
    """Raise StageFailed unless the file holds the clip's frames, of which its two ends must decode."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = (stream.width, stream.height, stream.frames, stream.average_rate)
        wanted = (shape.width, shape.height, shape.frames, fps if shape.frames > 1 else stream.average_rate)
        first = next(container.decode(stream), None)
        container.seek(int((shape.frames - 1) / fps / stream.time_base), stream=stream)
        last = next(container.decode(stream), None)
    if found != wanted or first is None or last is None:
        raise StageFailed("encode.video", "Unplayable", f"the file holds {found}, and {wanted} was written")


def durations(frames: int, fps: Fraction, ticks_per_s: int) -> list[int]:
    """Return each frame's duration in whole ticks; no sum of them strays from the true time by over half a tick."""
    times = [round(index / fps * ticks_per_s) for index in range(frames + 1)]
    return [after - before for before, after in itertools.pairwise(times)]


def _write_animation(path: Path, clip: Clip, params: VideoEncoder.Params, show: Show) -> None:
    if params.format == "gif":
        _write_gif(path, clip, _comment(params, clip.model, clip.origin), show)
        return
    from deployments.nets.webp import write_webp

    made_from = _made_from(params, clip.model, clip.origin)
    times = durations(len(clip.frames), clip.fps, 1000)
    write_webp(path, clip.frames, times, params.quality, as_text(made_from) if made_from else "", show)


def _write_gif(path: Path, clip: Clip, comment: str, show: Show) -> None:
    from PIL import Image as PillowImage

    from deployments.nets.gif import TICKS_PER_S, Palette, write_gif

    def pictures() -> Iterator[PillowImage.Image]:
        for index, pixels in enumerate(clip.frames):
            yield PillowImage.fromarray(np.ascontiguousarray(pixels))
            show(index + 1)

    chosen = sorted({round(place) for place in np.linspace(0, len(clip.frames) - 1, _PALETTE_FRAMES)})
    palette = Palette.of([clip.frames[index] for index in chosen])
    with path.open("wb") as file:
        write_gif(file, pictures(), durations(len(clip.frames), clip.fps, TICKS_PER_S), palette, comment)
