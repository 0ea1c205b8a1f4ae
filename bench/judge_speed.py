"""How long does it take to judge 97 frames of 1280x720, and how much memory? `python -m bench.judge_speed`

CPU seconds of one core, the best of three: the stage without and with the null, beside the classic rule (mean pixel
difference of five frames, in numpy), and beside every detector by itself, each preparing the frames that it needs. Peak
memory is beyond the clip's own bytes.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from bench.record import emit
from deployments.judge.video import Video
from deployments.metrics import readings as read
from deployments.metrics.looks import looks_of
from deployments.metrics.region import region_for
from deployments.metrics.scale import grey_of, scaled
from deployments.metrics.warp import photo_of
from serve_app.core.media import Clip, Image, Pixels
from tests.deployments.desk import DeskContext
from tests.metrics.pictures import subject

FRAMES, HEIGHT, WIDTH = 97, 720, 1280
TIMES = 3


def film() -> tuple[Pixels, Pixels]:
    """Return (a picture, a slow pan over it with grain), 1280x720."""
    wide = cv2.resize(subject("motorcycle").pixels, (1408, 792), interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    frames = np.empty((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for index in range(FRAMES):
        shift = np.array([[1, 0, -0.5 * index - 16], [0, 1, -0.2 * index - 16]], np.float32)
        moved = cv2.warpAffine(wide, shift, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
        frames[index] = np.clip(moved + rng.integers(-3, 4, (HEIGHT, WIDTH, 1)), 0, 255)
    return wide[16 : 16 + HEIGHT, 16 : 16 + WIDTH].copy(), frames


def cpu_s(work: Callable[[], object]) -> float:
    """Return the least CPU time of three runs."""
    taken = []
    for _ in range(TIMES):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def naive(frames: Pixels, photo: Pixels) -> list[float]:
    """The classic rule as it is written everywhere: five frames, numpy, float64."""
    return [float(np.abs(frames[at].astype(float) - photo.astype(float)).mean()) for at in (0, 24, 48, 72, 96)]


def separately(frames: Pixels, photo: Pixels) -> None:
    """Take every family of measures by itself, each preparing what it needs."""
    nothing: Callable[[int], None] = lambda _: None  # noqa: E731
    read.frame_readings(looks_of(frames, nothing))
    read.step_readings(looks_of(frames, nothing), 0.05)
    looks = looks_of(frames, nothing)
    size = (looks.greys[0].shape[0], looks.greys[0].shape[1])
    region = region_for(size, None)
    grey = scaled(grey_of(photo), size)
    for _ in ("cut", "stutter", "wobble"):
        read.passage_readings(looks, region, 24.0)
    for _ in ("identity", "drift", "detail", "first frame"):
        read.reference_readings(looks, read.Reference(photo_of(grey, 1.0), grey, False), region)


def main() -> None:
    """Write one line per way to judge."""
    photo, frames = film()
    clip, image = Clip(frames, Fraction(24), "bench"), Image(photo)
    with tempfile.TemporaryDirectory() as directory:
        desk = DeskContext(Path(directory))
        stage = Video()
        stage.load(Video.Weights(), desk)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took = cpu_s(lambda: stage.run(Video.Params(null_clips=0), clip=clip, image=image))
        extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        emit("judge_speed", case="judge.video", cpu_s=took, extra_bytes=extra, clip_bytes=frames.nbytes)
        start = time.process_time()
        stage.run(Video.Params(), clip=clip, image=image)
        emit("judge_speed", case="with the null, first time", cpu_s=time.process_time() - start)
        known = cpu_s(lambda: stage.run(Video.Params(), clip=clip, image=image))
        emit("judge_speed", case="with the null, known picture", cpu_s=known)
    emit("judge_speed", case="five frames, numpy", cpu_s=cpu_s(lambda: naive(frames, photo)))
    emit("judge_speed", case="each measure by itself", cpu_s=cpu_s(lambda: separately(frames, photo)))


if __name__ == "__main__":
    main()
