"""Clip to file: MP4 (H.264 and AAC) that every browser plays, or an animated WebP or GIF with true durations."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from serve_app.core.artifact import Artifact
from serve_app.core.errors import InvalidInput, StageFailed
from serve_app.core.media import Audio, Clip, Pixels, Samples
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_THREADS = 2
"""x264's output depends on the number of threads; a fixed one keeps a clip's bytes the same on every machine."""
_CRF = 18
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_SAMPLES = 1024
_MEDIA_TYPES = {"mp4": "video/mp4", "webp": "image/webp", "gif": "image/gif"}
_OWN: dict[str, frozenset[str]] = {
    "mp4": frozenset({"codec", "crf", "preset", "bitrate_bps", "audio_bitrate_bps"}),
    "webp": frozenset({"quality"}),
    "gif": frozenset(),
}
"""The params that have an effect in each format; the others must not be given."""
_REPORT_EVERY = 8

Show = Callable[[int], None]


class VideoEncoder:
    """Encodes a clip into an artifact (`encode.video`); the same clip and params give the same bytes.

    MP4: H.264 in yuv420p, converted with and tagged as BT.709 in limited range, at the clip's exact rate (30000/1001 is
    not 29.97), the index before the data so that playback starts at once. Sound is AAC, mono or stereo, at its own rate
    where AAC has it and else at 48000 Hz, cut or filled with silence to the length of the picture.
    WebP and GIF: each frame has its own duration in whole ms or 1/100 s, rounded so that the sum is right; they loop
    for ever, have no sound (a warning says so), and GIF shares one palette of 256 colours, so that nothing flickers.

    Facts of the artifact: ``width``, ``height`` (px), ``frames``, ``fps`` (``"30000/1001"``), ``duration_s``,
    ``codec``, ``has_audio``, ``model``. Raises InvalidInput for what the format cannot hold: odd sizes in H.264,
    an empty clip, sound of more than two channels.
    """

    is_cpu_only = True

    class Weights(Strict):
        """None are needed."""

    class Params(Strict):
        """``crf`` 1 (best) to 51, 18 unless ``bitrate_bps`` (bit/s) is given; ``quality`` 0..100 is WebP's.

        A crf of 0 is left out: it is lossless, in a profile that browsers do not play. ``preset`` is ``fast`` because
        it takes a fifth less time than x264's own default for the same size and error (720p, 2 threads).
        ``format`` is the file's, ``codec`` that of the picture in an mp4, ``audio_bitrate_bps`` (bit/s) that of its AAC
        sound. ``name`` is the file's without its ending.
        """

        format: Literal["mp4", "webp", "gif"] = "mp4"
        codec: Literal["h264"] = "h264"
        crf: int | None = Field(None, ge=1, le=51)
        bitrate_bps: int | None = Field(None, ge=50_000, le=200_000_000)
        preset: Literal["ultrafast", "veryfast", "faster", "fast", "medium", "slow", "slower"] = "fast"
        audio_bitrate_bps: int = Field(160_000, ge=32_000, le=512_000)
        quality: int = Field(90, ge=0, le=100)
        name: str = Field("video", pattern=r"^\w[\w .-]{0,79}$")

    @staticmethod
    def plan(params: Params) -> None:
        """Raise InvalidInput for a param that the format has no use for, or two that exclude each other."""
        for name in sorted(params.model_fields_set - {"format", "name"} - _OWN[params.format]):
            raise InvalidInput(name, f"has no effect in {params.format}; leave it out")
        if params.crf is not None and params.bitrate_bps is not None:
            raise InvalidInput("crf", "either a quality (crf) or a rate (bitrate_bps) can be held, not both")

    def load(self, weights: Weights, context: Context) -> None:
        """Keep the context; there is nothing to load."""
        self._context = context

    def run(self, params: Params, *, clip: Clip) -> Artifact:
        """Return the artifact of the encoded clip; its temporary file is removed whatever happens."""
        self.plan(params)
        _check(params, clip)
        for warning in _losses(params, clip):
            self._context.warn(warning)
        if params.format == "mp4":
            self._context.note("video", {**_rate_control(params), "preset": params.preset, "threads": _THREADS})
        with _temporary(self._context.scratch, params.format) as path:
            if params.format == "mp4":
                _write_mp4(path, clip, params, self._show(clip))
                _read_back(path, clip)
            else:
                _write_animation(path, clip, params, self._show(clip))
            name = f"{params.name}.{params.format}"
            return self._context.artifacts.put_file(path, _MEDIA_TYPES[params.format], name, _facts(params, clip))

    def _show(self, clip: Clip) -> Show:
        def show(done: int) -> None:
            if done % _REPORT_EVERY == 0 or done == len(clip.frames):
                self._context.progress(done, len(clip.frames))

        return show


def _check(params: VideoEncoder.Params, clip: Clip) -> None:
    shape = clip.shape
    if clip.frames.size == 0:
        raise InvalidInput("clip", f"{shape} holds nothing to encode")
    if params.format != "mp4":
        return
    for name, length in (("width", shape.width), ("height", shape.height)):
        if length % 2:
            raise InvalidInput(name, f"{length} px is odd, and H.264 in yuv420p needs even sizes")
    if clip.audio is not None and clip.audio.samples.shape[0] not in (1, 2):
        raise InvalidInput("audio", f"{clip.audio.samples.shape[0]} channels; mono and stereo can be encoded")
    if clip.audio is not None and not np.isfinite(clip.audio.samples).all():
        raise InvalidInput("audio", "some samples are not finite")


def _losses(params: VideoEncoder.Params, clip: Clip) -> list[str]:
    """Say what of the clip or the params will not be in the file."""
    losses = []
    if clip.audio is not None and params.format != "mp4":
        losses.append(f"the sound is left out: {params.format} has none")
    if clip.audio is None and "audio_bitrate_bps" in params.model_fields_set:
        losses.append("audio_bitrate_bps has no effect: the clip has no sound")
    if params.format == "gif" and clip.fps > 50:
        losses.append(f"GIF players slow down above 50 fps, and the clip has {float(clip.fps):.5g}")
    return losses


def _facts(params: VideoEncoder.Params, clip: Clip) -> dict[str, Any]:
    shape = clip.shape
    return {
        "width": shape.width,
        "height": shape.height,
        "frames": shape.frames,
        "fps": f"{clip.fps.numerator}/{clip.fps.denominator}",
        "duration_s": clip.duration_s,
        "codec": params.codec if params.format == "mp4" else params.format,
        "has_audio": clip.audio is not None and params.format == "mp4",
        "model": clip.model,
    }


@contextmanager
def _temporary(directory: Path, suffix: str) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix="encode-", suffix=f".{suffix}", dir=directory)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)  # the store may have moved it away


def _write_mp4(path: Path, clip: Clip, params: VideoEncoder.Params, show: Show) -> None:
    import av

    options = {"movflags": "+faststart", "fflags": "+bitexact"}  # bitexact: no version strings, no dates
    with av.open(str(path), "w", format="mp4", options=options) as container:
        container.metadata.update(title=params.name, comment=f"model: {clip.model}")
        picture = _picture_stream(container, clip, params)
        sound = _Sound(container, clip, params.audio_bitrate_bps) if clip.audio is not None else None
        for index, pixels in enumerate(clip.frames):
            container.mux(picture.encode(_frame(pixels, index, clip.fps)))
            if sound is not None:
                container.mux(sound.until((index + 1) / clip.fps))
            show(index + 1)
        container.mux(picture.encode(None))
        if sound is not None:
            container.mux(sound.end())


def _picture_stream(container: Any, clip: Clip, params: VideoEncoder.Params) -> Any:
    """Add the H.264 stream; the four colour tags are BT.709's number, 1, and 1 for limited range (ITU-T H.273)."""
    rate = _rate_control(params)
    options = {"preset": params.preset, **({"crf": str(rate["crf"])} if "crf" in rate else {})}
    stream = container.add_stream("libx264", rate=clip.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = clip.shape.width, clip.shape.height, "yuv420p"
    if "bitrate_bps" in rate:
        stream.bit_rate = rate["bitrate_bps"]
    context = stream.codec_context
    context.thread_count, context.thread_type = _THREADS, "FRAME"  # slices, PyAV's default, would cost quality
    context.time_base = 1 / clip.fps
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
    return stream


def _read_back(path: Path, clip: Clip) -> None:
    """Raise StageFailed unless the file holds the clip's frames, of which its two ends must decode."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = (stream.width, stream.height, stream.frames, stream.average_rate)
        shape = clip.shape
        wanted = (shape.width, shape.height, shape.frames, clip.fps if shape.frames > 1 else stream.average_rate)
        first = next(container.decode(stream), None)
        container.seek(int((shape.frames - 1) / clip.fps / stream.time_base), stream=stream)
        last = next(container.decode(stream), None)
    if found != wanted or first is None or last is None:
        raise StageFailed("encode.video", "Unplayable", f"the file holds {found}, and {wanted} was written")


def _rate_control(params: VideoEncoder.Params) -> dict[str, int]:
    """Return what is in effect: a constant quality, or a rate in bit/s."""
    if params.bitrate_bps is not None:
        return {"bitrate_bps": params.bitrate_bps}
    return {"crf": _CRF if params.crf is None else params.crf}


def _frame(pixels: Pixels, index: int, fps: Fraction) -> Any:
    """Return one frame as yuv420p in BT.709, limited range: swscale's own default matrix would be BT.601's."""
    import av
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=exact,
        threads=1,
    )
    frame.pts, frame.time_base = index, 1 / fps
    return frame


class _Sound:
    """An AAC stream in ``container`` that is exactly as long as ``clip``'s picture, encoded as the picture advances."""

    def __init__(self, container: Any, clip: Clip, bitrate_bps: int) -> None:
        assert clip.audio is not None
        self._layout = "mono" if clip.audio.samples.shape[0] == 1 else "stereo"
        self._rate = clip.audio.rate if clip.audio.rate in _AAC_RATES else 48000
        samples = np.clip(_resampled(clip.audio, self._rate, self._layout), -1.0, 1.0)
        wanted = round(len(clip.frames) / clip.fps * self._rate)
        silence = max(0, wanted - samples.shape[1])
        self._samples = np.pad(samples[:, :wanted], ((0, 0), (0, silence)))
        self._stream = container.add_stream("aac", rate=self._rate, layout=self._layout)
        self._stream.bit_rate = bitrate_bps
        self._at = 0

    def until(self, time_s: Fraction) -> list[Any]:
        """Return the packets of the whole AAC frames before ``time_s``."""
        packets = []
        while self._at + _AAC_SAMPLES <= min(int(time_s * self._rate), self._samples.shape[1]):
            packets += self._encode(_AAC_SAMPLES)
        return packets

    def end(self) -> list[Any]:
        """Return the packets of what is left."""
        packets = []
        while self._at < self._samples.shape[1]:
            packets += self._encode(min(_AAC_SAMPLES, self._samples.shape[1] - self._at))
        return packets + list(self._stream.encode(None))

    def _encode(self, count: int) -> list[Any]:
        import av

        part = np.ascontiguousarray(self._samples[:, self._at : self._at + count])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
        self._at += count
        return list(self._stream.encode(frame))


def _resampled(audio: Audio, rate: int, layout: str) -> Samples:
    import av

    if audio.rate == rate:
        return audio.samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = audio.rate, 0
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    parts = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def durations(frames: int, fps: Fraction, ticks_per_s: int) -> list[int]:
    """Return each frame's duration in whole ticks; no sum of them strays from the true time by over half a tick."""
    times = [round(index / fps * ticks_per_s) for index in range(frames + 1)]
    return [after - before for before, after in itertools.pairwise(times)]


def _write_animation(path: Path, clip: Clip, params: VideoEncoder.Params, show: Show) -> None:
    if params.format == "webp":
        options: dict[str, Any] = {"quality": params.quality, "method": 4}
        reel, times = _reel(clip, None, show), durations(len(clip.frames), clip.fps, 1000)
    else:
        options = {"disposal": 1}
        centiseconds = durations(len(clip.frames), clip.fps, 100)
        reel, times = _reel(clip, _palette(clip), show), [10 * ticks for ticks in centiseconds]
    reel.save(path, format=params.format.upper(), save_all=True, duration=times, loop=0, **options)


def _palette(clip: Clip) -> PillowImage.Image:
    """Return a picture with the 256 colours that suit up to eight frames across the clip."""
    from PIL import Image as PillowImage

    chosen = sorted({round(place) for place in np.linspace(0, len(clip.frames) - 1, 8)})
    sample = np.concatenate([clip.frames[index][::2, ::2] for index in chosen])
    return PillowImage.fromarray(sample).quantize(256, method=PillowImage.Quantize.MEDIANCUT)


def _reel(clip: Clip, palette: PillowImage.Image | None, show: Show) -> PillowImage.Image:
    """Return a multi-frame picture that makes each frame when Pillow seeks it: one frame in memory, and progress."""
    from PIL import Image as PillowImage

    class Reel(PillowImage.Image):
        n_frames = len(clip.frames)

        def __init__(self) -> None:
            super().__init__()
            self._place = -1
            self.seek(0)

        def seek(self, frame: int) -> None:
            if frame >= self.n_frames:
                raise EOFError
            if frame == self._place:
                return
            picture = PillowImage.fromarray(np.ascontiguousarray(clip.frames[frame]))
            picture = picture if palette is None else picture.quantize(palette=palette)
            self.im, self._mode, self._size, self.palette = picture.im, picture.mode, picture.size, picture.palette
            self._place = frame
            show(frame + 1)

        def tell(self) -> int:
            return self._place

    return Reel()
