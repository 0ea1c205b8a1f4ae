"""Pictures and AAC in MP4 through PyAV: a clip in one go, or segments put together without encoding them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from deployments.nets.codecs import Knobs
from serve_app.core.media import Audio, Clip, Pixels, Samples

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_AAC_SAMPLES = 1024


@dataclass(frozen=True)
class Coding:
    """How a picture of ``width`` x ``height`` px at ``fps`` is encoded."""

    width: int
    height: int
    fps: Fraction
    knobs: Knobs

    def apply(self, context: Any) -> None:
        """Set up an encoder. The four colour tags are BT.709's number, 1, and 1 for limited range (ITU-T H.273)."""
        context.width, context.height = self.width, self.height
        self.knobs.apply(context)
        context.framerate, context.time_base = self.fps, 1 / self.fps
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1


@dataclass(frozen=True)
class Label:
    """What an MP4 says of itself: a ``title``, and a ``comment`` about what made it. An empty one is left out."""

    title: str
    comment: str = ""


@dataclass(frozen=True)
class Packet:
    """One encoded picture: shown as frame ``shown`` of its clip."""

    data: bytes
    shown: int
    is_key: bool


@dataclass(frozen=True)
class Segment:
    """Consecutive frames of a clip, encoded by themselves from a key frame on: ``packets`` in the order of decoding.

    ``header`` holds the parameter sets, which are those of every segment with the same coding.
    """

    packets: tuple[Packet, ...]
    header: bytes


def segment_of(frames: Pixels, first: int, coding: Coding, show: Any) -> Segment:
    """Encode ``frames`` ``(T, H, W, 3)``, which begin with frame ``first`` of their clip; ``show`` hears of each."""
    context: Any = av.CodecContext.create(coding.knobs.chosen.encoder, "w")
    coding.apply(context)
    context.flags |= Flags.global_header  # as in MP4: parameter sets stand beside the pictures, once
    context.open()
    packets: list[Any] = []
    for index, pixels in enumerate(frames):
        packets += context.encode(picture_of(pixels, index, coding))
        show(index + 1)
    packets += context.encode(None)
    found = tuple(Packet(bytes(each), first + int(each.pts), bool(each.is_keyframe)) for each in packets)
    return Segment(found, bytes(context.extradata))


def picture_of(pixels: Pixels, index: int, coding: Coding) -> Any:
    """Return one frame as 4:2:0 in BT.709, limited range: swscale's own default matrix would be BT.601's."""
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(
        format=coding.knobs.pixel_format,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=exact,
        threads=1,
    )
    frame.pts, frame.time_base = index, 1 / coding.fps
    return frame


class Film:
    """An MP4 being written to ``path``: its picture with ``coding``, the index before the data, and perhaps sound."""

    def __init__(self, path: str, coding: Coding, label: Label) -> None:
        options = {"movflags": "+faststart", "fflags": "+bitexact"}  # bitexact: no version strings, no dates
        self._container: Any = av.open(path, "w", format="mp4", options=options)
        self._container.metadata.update({name: said for name, said in vars(label).items() if said})
        self._coding = coding
        self._picture = self._container.add_stream(coding.knobs.chosen.encoder, rate=coding.fps)
        coding.apply(self._picture.codec_context)
        self._sound: Sound | None = None

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def add_sound(self, audio: Audio, frames: int, bitrate_bps: int) -> None:
        """Lay ``audio`` under ``frames`` frames, before any picture is written."""
        self._sound = Sound(self._container, audio, frames / self._coding.fps, bitrate_bps)

    def encode(self, frames: Pixels, show: Any) -> None:
        """Encode and write a whole clip; ``show`` hears of every frame."""
        for index, pixels in enumerate(frames):
            self._container.mux(self._picture.encode(picture_of(pixels, index, self._coding)))
            self._write_sound(index + 1)
            show(index + 1)
        self._container.mux(self._picture.encode(None))
        self._end()

    def put(self, segments: Sequence[Segment]) -> None:
        """Write ``segments`` in order. Raise ValueError for one that was encoded otherwise."""
        self._container.start_encoding()
        header = bytes(self._picture.codec_context.extradata)
        if any(segment.header != header for segment in segments):
            raise ValueError("the segments of one clip were not encoded alike")
        packets = [packet for segment in segments for packet in segment.packets]
        # Decoding times count up by one; the shift keeps every picture's before the moment that it is shown.
        shift = max((index - packet.shown for index, packet in enumerate(packets)), default=0)
        for index, packet in enumerate(packets):
            self._container.mux(self._packet(packet, index - shift))
            self._write_sound(index + 1)
        self._end()

    def _packet(self, packet: Packet, decoded: int) -> Any:
        made: Any = av.Packet(packet.data)
        made.stream, made.time_base = self._picture, 1 / self._coding.fps
        made.pts, made.dts, made.duration, made.is_keyframe = packet.shown, decoded, 1, packet.is_key
        return made

    def _write_sound(self, frames: int) -> None:
        if self._sound is not None:
            self._container.mux(self._sound.until(frames / self._coding.fps))

    def _end(self) -> None:
        if self._sound is not None:
            self._container.mux(self._sound.end())


class Sound:
    """An AAC stream in ``container`` that lasts exactly ``duration_s``, encoded as the picture advances."""

    def __init__(self, container: Any, audio: Audio, duration_s: Fraction, bitrate_bps: int) -> None:
        self._layout = "mono" if audio.samples.shape[0] == 1 else "stereo"
        self._rate = audio.rate if audio.rate in _AAC_RATES else 48000
        samples = np.clip(_resampled(audio, self._rate, self._layout), -1.0, 1.0)
        wanted = round(duration_s * self._rate)
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
        part = np.ascontiguousarray(self._samples[:, self._at : self._at + count])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._at, Fraction(1, self._rate)
        self._at += count
        return list(self._stream.encode(frame))


def _resampled(audio: Audio, rate: int, layout: str) -> Samples:
    if audio.rate == rate:
        return audio.samples
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = audio.rate, 0
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    parts = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def coding_of(clip: Clip, knobs: Knobs) -> Coding:
    """Return the coding of ``clip``'s size and rate."""
    return Coding(clip.shape.width, clip.shape.height, clip.fps, knobs)
