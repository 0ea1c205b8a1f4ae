"""What one frame shows by itself: sharpness that noise cannot fake, light, grain, and the marks of compression.

All in 8-bit levels of luma (variances: levels squared) unless a name says otherwise. Every function takes a frame of
any size from 1x1 and returns a finite number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.scale import Grey, Plane, scaled
from serve_app.core.media import Pixels

LOG_NOISE_GAIN = 0.112
"""What white noise of variance 1 adds to the variance of the Laplacian of Gaussian (deviation 1 px)."""
_BLOCK, _PATCH = 16, 256
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_SHALLOW, _STEP = 1.0, 3.0


def laplacian_variance(grey: Grey) -> float:
    """Return the variance of the 3x3 four-neighbour Laplacian: the classic sharpness. Noise of deviation s adds 20
    s^2."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


def light(grey: Grey) -> tuple[float, float]:
    """Return brightness and contrast: mean and deviation of luma."""
    mean, deviation = cv2.meanStdDev(grey)
    return float(mean[0, 0]), float(deviation[0, 0])


@dataclass(frozen=True)
class Tones:
    """How luma is spread: shares 0..1 of pixels at 2 or less and at 253 or more, and the entropy of its histogram in
    bits."""

    crushed: float
    blown: float
    bits: float


def tones(grey: Grey) -> Tones:
    """Return the spread of luma. One colour has 0 bits, a pattern of two at most 1, a photograph 5 to 8."""
    shares = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel() / grey.size
    some = shares[shares > 0]
    return Tones(float(shares[:3].sum()), float(shares[253:].sum()), float(-(some * np.log2(some)).sum()))


def noise_sigma(grey: Grey) -> float:
    """Return the deviation of the grain.

    The residual of Immerkaer (Fast Noise Variance Estimation, 1996) per 16x16 block; the 10th percentile of the blocks
    that are neither crushed nor blown (mean 12..243), times 1.22 for what taking a low percentile loses.
    """
    tall, wide = grey.shape[0] // _BLOCK, grey.shape[1] // _BLOCK
    if not tall or not wide:
        return 0.0
    cut = grey[: tall * _BLOCK, : wide * _BLOCK]
    residual = cv2.filter2D(cut, cv2.CV_32F, _IMMERKAER)
    size = (wide, tall)
    power = cv2.resize(cv2.multiply(residual, residual), size, interpolation=cv2.INTER_AREA) / 36
    means = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    fit = power[(means > 12) & (means < 243)]
    return float(np.sqrt(1.22 * np.percentile(fit, 10))) if fit.size else 0.0


def log_variance(grey: Grey | Plane, sigma: float, gain: float = LOG_NOISE_GAIN) -> float:
    """Return LoG1c: the variance of the Laplacian of the frame smoothed by 1 px, less ``gain`` times what grain adds.

    Falls with every blur, and hardly moves with grain: blur cannot be hidden by noise. ``sigma`` is the grain in
    levels, ``gain`` what grain of variance 1 leaves, which `log_noise_gain` knows for a frame that was resized.
    """
    soft = cv2.GaussianBlur(grey.astype(np.float32), (7, 7), 1.0)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(soft, cv2.CV_32F))
    return max(0.0, float(deviation[0, 0]) ** 2 - gain * sigma * sigma)


@lru_cache(maxsize=64)
def log_noise_gain(shape: tuple[int, int], size: tuple[int, int]) -> float:
    """Return what white noise of variance 1 at ``shape`` adds to the variance of LoG at ``size`` (height, width).

    Measured, on noise that is resized as the frame is: resizing makes grain coarser or finer, never white.
    """
    if shape == size:
        return LOG_NOISE_GAIN
    white = np.random.default_rng(0).standard_normal((_PATCH, _PATCH), np.float32)
    tall, wide = (min(4 * _PATCH, max(8, round(_PATCH * to / of))) for of, to in zip(shape, size, strict=True))
    return log_variance(scaled(white, (tall, wide)), 0.0)


def effective_sharpness(laplacian: float, log1c: float) -> float:
    """Return S_eff: the classic sharpness, at most ten times LoG1c, so that noise earns nothing."""
    return min(laplacian, 10.0 * log1c)


def blockiness(grey: Grey) -> float:
    """Return how far the grid of 8x8 blocks stands out: its mean step over the other seven phases', less 1; 0 is none.

    The lower of columns and rows: compression marks both, a fence only one.
    """
    if min(grey.shape) < 32:
        return 0.0
    signed = grey.astype(np.int16)
    return max(0.0, min(_grid(np.abs(np.diff(signed, axis=1))), _grid(np.abs(np.diff(signed, axis=0)).T)))


def _grid(steps: npt.NDArray[np.int16]) -> float:
    profile = steps.mean(axis=0)[: steps.shape[1] // 8 * 8].reshape(-1, 8).mean(axis=0)
    return float((profile.max() + 0.05) / (np.median(profile) + 0.05)) - 1.0


def banding(grey: Grey) -> float:
    """Return the share 0..1 of smooth ground that is terraced: flat within a pixel, yet a step of 3 levels or more
    beside.

    Smooth ground is where the light, averaged over 15 px, changes by less than 1 level per px.
    """
    if min(grey.shape) < 32:
        return 0.0
    plain = grey.astype(np.float32)
    smooth = cv2.blur(plain, (15, 15))
    slope = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)) / 8
    kernel = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(grey, kernel) - cv2.erode(grey, kernel)
    flat = (spread == 0).astype(np.uint8)
    step = (spread >= _STEP).astype(np.uint8)
    near = cv2.dilate(step, np.ones((9, 9), np.uint8))
    shallow = (slope < _SHALLOW) & (slope > 0.02)
    ground = int(shallow.sum())
    return float((flat.astype(bool) & near.astype(bool) & shallow).sum() / ground) if ground > grey.size / 50 else 0.0


def colourfulness(frame: Pixels) -> float:
    """Return the colourfulness of Hasler and Suesstrunk (2003): 0 is grey, above 80 is vivid. Differences are
    signed."""
    red, green, blue = (frame[..., channel].astype(np.float32) for channel in range(3))
    across, along = red - green, 0.5 * (red + green) - blue
    return float(np.hypot(across.std(), along.std()) + 0.3 * np.hypot(across.mean(), along.mean()))


def structure(picture: Plane) -> Plane:
    """Return the local energy of the gradient, levels squared per px squared, averaged over 9 px."""
    across, along = cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=0.125)
    return np.asarray(cv2.blur(across * across + along * along, (9, 9)))
