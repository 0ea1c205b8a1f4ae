"""Which of FFmpeg's encoders writes a codec into MP4, and what its knobs are called: H.264, HEVC and AV1.

The default qualities are near one another in luma's error (`bench/codecs.py`), and far apart in bytes.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from serve_app.core.errors import InvalidInput

THREADS = 2
"""What these encoders write depends on the number of threads; a fixed one keeps bytes the same on every machine."""
Wish = Literal["software", "nvenc", "auto"]

_PRESETS = ("ultrafast", "veryfast", "faster", "fast", "medium", "slow", "slower")
"""x264's and x265's own words, from the fastest to the slowest."""
_SVT_PRESETS = dict(zip(_PRESETS, ("12", "10", "9", "8", "6", "4", "2"), strict=True))
_NVENC_PRESETS = dict(zip(_PRESETS, ("p1", "p2", "p3", "p4", "p5", "p6", "p7"), strict=True))
_X265 = f"log-level=none:info=0:pools={THREADS}:frame-threads=1"
"""``info=0``: x265 writes its options into the picture else, and among them is what the CPU can do."""


@dataclass(frozen=True)
class Codec:
    """``name`` in params and ``label`` for people; FFmpeg's encoders; the MP4 ``tag`` that players look for.

    ``crf`` is taken unless another is given, 1 to ``most_crf``; ``least_px`` is the shortest side.
    """

    name: str
    label: str
    tag: str
    software: str
    nvenc: str
    crf: int
    most_crf: int
    least_px: int
    bit_depths: tuple[int, ...]


CODECS = {
    codec.name: codec
    for codec in (
        Codec("h264", "H.264", "avc1", "libx264", "h264_nvenc", 18, 51, 2, (8,)),
        Codec("hevc", "HEVC", "hvc1", "libx265", "hevc_nvenc", 22, 51, 16, (8, 10)),
        Codec("av1", "AV1", "av01", "libsvtav1", "av1_nvenc", 30, 63, 16, (8, 10)),
    )
}


@dataclass(frozen=True)
class Chosen:
    """FFmpeg's ``encoder`` for a codec, and why it was ``said`` to be that one; empty where it was asked for."""

    encoder: str
    said: str = ""

    @property
    def is_nvenc(self) -> bool:
        """Whether a GPU does the work."""
        return self.encoder.endswith("_nvenc")

    def pixel_format(self, bit_depth: int) -> str:
        """Return FFmpeg's name for 4:2:0 of 8 or 10 bits as the encoder takes it."""
        if bit_depth == 8:
            return "yuv420p"
        return "p010le" if self.is_nvenc else "yuv420p10le"

    def threads(self, crf: int | None) -> int:
        """Return how many threads work: SVT-AV1's control of a rate heeds which of them was first, so it gets one."""
        return 1 if self.encoder == "libsvtav1" and crf is None else THREADS

    def options(self, preset: str, crf: int | None) -> dict[str, str]:
        """Return the encoder's own options; a ``crf`` of None leaves the rate to a bitrate."""
        if self.is_nvenc:
            held = {} if crf is None else {"cq": str(crf)}
            return {"preset": _NVENC_PRESETS[preset], "tune": "hq", "rc": "vbr", **held}
        held = {} if crf is None else {"crf": str(crf)}
        if self.encoder == "libsvtav1":
            return {"preset": _SVT_PRESETS[preset], "svtav1-params": f"lp={self.threads(crf)}", **held}
        extra = {"x265-params": _X265} if self.encoder == "libx265" else {}
        if self.encoder == "libx264" and _has_avx512():
            extra = {"x264-params": "asm=avx2"}
        return {"preset": preset, **extra, **held}


@functools.cache
def _has_avx512() -> bool:
    """Whether x264 would use AVX-512: with it the same frames gave other bytes in 8 of 1900 encodes, without in none.

    Every CPU that has it has AVX2. Where Linux does not say, nothing is changed.
    """
    try:
        return "avx512" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@dataclass(frozen=True)
class Knobs:
    """How a picture is encoded: by what, in 8 or 10 bits, how hard it tries, and to which quality or rate (bit/s)."""

    codec: Codec
    chosen: Chosen
    bit_depth: int
    preset: str
    crf: int | None
    bitrate_bps: int | None

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name for what the encoder takes."""
        return self.chosen.pixel_format(self.bit_depth)

    def apply(self, context: Any) -> None:
        """Set up an encoder's context, its size and rate apart."""
        context.pix_fmt, context.codec_tag = self.pixel_format, self.codec.tag
        context.options = self.chosen.options(self.preset, self.crf)
        if self.bitrate_bps is not None:
            context.bit_rate = self.bitrate_bps
        context.thread_count, context.thread_type = THREADS, "FRAME"  # slices, PyAV's default, would cost quality

    def as_note(self) -> dict[str, Any]:
        """Return what is in effect, as JSON values."""
        held = {"crf": self.crf} if self.bitrate_bps is None else {"bitrate_bps": self.bitrate_bps}
        reason = {"because": self.chosen.said} if self.chosen.said else {}
        facts = {
            "preset": self.preset,
            "threads": self.chosen.threads(self.crf),
            "encoder": self.chosen.encoder,
            "bit_depth": self.bit_depth,
        }
        return {**held, **facts, **reason}


def check(codec: Codec, wish: Wish) -> None:
    """Raise InvalidInput naming ``codec`` or ``encoder`` for one that this build of FFmpeg lacks.

    x264 is in every build of PyAV: nothing is opened to find it, so that a file can be checked without FFmpeg.
    """
    if codec.software == "libx264" and wish != "nvenc":
        return
    wanted = codec.nvenc if wish == "nvenc" else codec.software
    if not _has(wanted):
        field = "encoder" if wish == "nvenc" else "codec"
        raise InvalidInput(field, f"{codec.label} needs {wanted}, which PyAV's FFmpeg was built without here")


def chosen(codec: Codec, wish: Wish, bit_depth: int) -> Chosen:
    """Return the encoder to use: NVENC where it was asked for, or with ``auto`` where it is there.

    Raises InvalidInput naming ``encoder`` when NVENC was asked for and a GPU that has it is not there.
    """
    check(codec, wish)
    if codec.software == "libsvtav1":
        os.putenv("SVT_LOG", "1")  # errors alone: it writes forty lines to stderr for every clip
    if wish != "software":
        problem = nvenc_problem(codec.nvenc, bit_depth)
        if problem is None:
            return Chosen(codec.nvenc, "NVENC is there" if wish == "auto" else "")
        if wish == "nvenc":
            raise InvalidInput("encoder", f"{problem}; it takes a share of an NVIDIA GPU that has encoders")
        return Chosen(codec.software, problem)
    return Chosen(codec.software)


@functools.cache
def nvenc_problem(encoder: str, bit_depth: int) -> str | None:
    """Return why an NVENC encoder does not open in this process, or None: data-centre GPUs often have no encoder."""
    import av
    from av.error import FFmpegError

    if not _has(encoder):
        return f"PyAV's FFmpeg has no {encoder}"
    try:
        context: Any = av.CodecContext.create(encoder, "w")
        context.width = context.height = 256
        context.pix_fmt = Chosen(encoder).pixel_format(bit_depth)
        context.framerate = 24
        context.open()
    except FFmpegError as error:
        return f"{encoder} does not open here: {error.strerror}"
    return None


@functools.cache
def _has(encoder: str) -> bool:
    import av
    from av.codec.codec import UnknownCodecError

    try:
        av.codec.Codec(encoder, "w")
    except UnknownCodecError:
        return False
    return True
