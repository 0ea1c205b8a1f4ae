"""How large and how true is a clip in each codec, and how much work is it? `python -m bench.codecs [FRAMES]`

A pan over a photo at 1280x720 with a little noise, through `encode.video` at its defaults and some others. The error is
luma's PSNR against the same clip in H.264 at crf 1, so that the conversion from RGB is not counted. The work is the CPU
time of all threads (SVT-AV1 has many): wall time on a shared machine would count the neighbours.
"""

from __future__ import annotations

import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from skimage import data

from bench.record import emit
from deployments.encode.video import VideoEncoder
from serve_app.core.media import Clip, Pixels
from serve_app.core.resize import cover_resize
from tests.deployments.desk import DeskContext

CASES = (
    {"codec": "h264"},
    {"codec": "hevc"},
    {"codec": "hevc", "bit_depth": 10},
    {"codec": "av1"},
    {"codec": "av1", "bit_depth": 10},
    {"codec": "av1", "crf": 40},
)


def gliding(frames: int) -> Clip:
    """Return the clip that is encoded."""
    photo = cover_resize(data.astronaut(), 720, 1280 + 2 * frames).astype(np.int16)
    rng = np.random.default_rng(0)
    views = [photo[:, 2 * index : 2 * index + 1280] for index in range(frames)]
    noisy = [view + rng.normal(0, 2, view.shape).round().astype(np.int16) for view in views]
    return Clip(np.clip(np.stack(noisy), 0, 255).astype(np.uint8), Fraction(24), "bench")


def encoded(desk: DeskContext, clip: Clip, params: VideoEncoder.Params) -> tuple[float, int, Pixels]:
    """Return seconds of CPU, bytes, and the lumas ``(T, H, W)`` that come back."""
    stage = VideoEncoder()
    stage.load(VideoEncoder.Weights(), desk)
    started = time.process_time()
    artifact = stage.run(params, clip=clip)
    seconds = time.process_time() - started
    with av.open(str(desk.artifacts.path_of(artifact.digest))) as file:
        lumas = np.stack([frame.to_ndarray(format="gray") for frame in file.decode(video=0)])
    return seconds, artifact.size_bytes, lumas


def main(frames: int = 48) -> None:
    """Encode the clip in every case."""
    clip = gliding(frames)
    with tempfile.TemporaryDirectory() as folder:
        desk = DeskContext(Path(folder))
        _, _, truth = encoded(desk, clip, VideoEncoder.Params(crf=1))
        for case in CASES:
            params = VideoEncoder.Params.model_validate(case)
            seconds, size_bytes, lumas = encoded(desk, clip, params)
            error = np.mean([((a.astype(float) - b) ** 2).mean() for a, b in zip(truth, lumas, strict=True)])
            psnr_db = float(10 * np.log10(255**2 / error))
            name = ", ".join(f"{key} {value}" for key, value in case.items())
            figures = {"cpu_s_per_frame": seconds / frames, "size_bytes": size_bytes, "luma_psnr_db": psnr_db}
            emit("codecs", case=name, frames=frames, **figures)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
