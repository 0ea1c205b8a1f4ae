"""Against the picture that a clip began from: after its legitimate motion is undone, is it still the same thing?"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from deployments.metrics.flow import (
    STEP_PX,
    Tracker,
    grid_of,
    likeness,
    pulled_back,
    rigid_part,
    sampled,
    smooth,
    straying,
)
from deployments.metrics.region import Region, window_in, windowed
from deployments.metrics.scale import Grey, Plane
from deployments.metrics.still import structure

_LATE = 3
_BINS = 9
LOG14_NOISE_GAIN = 0.0294
"""What white noise of variance 1 adds to the energy of the Laplacian of Gaussian (deviation 1.4 px)."""


@dataclass(frozen=True)
class Comparison:
    """One entry per checkpoint (K,), and of the late ones together.

    ``bent``: RMS of the time-averaged flow that no affine motion of the region explains, in % of the region's size,
    over the last three checkpoints. ``changed``: 1 - cosine of the oriented gradients after the rigid motion is undone,
    their median. ``torn`` (K,): 1 - ZNCC after all motion is undone. ``dulled`` (K,): log of the fine detail lost (1 is
    a factor e). ``lost`` (K,): share of pixels that cannot be followed there and back.
    """

    frames: tuple[int, ...]
    bent: float
    changed: tuple[float, ...]
    torn: tuple[float, ...]
    dulled: tuple[float, ...]
    lost: tuple[float, ...]


@dataclass(frozen=True)
class Photo:
    """The reference at working size: grey, smoothed, its structure, fine detail and oriented gradients."""

    soft: Grey
    plain: Plane
    weight: Plane
    detail: Plane
    gradients: Plane
    sigma: float
    brightness: float
    contrast: float


def photo_of(grey: Grey, sigma: float) -> Photo:
    """Prepare a reference (H, W) whose grain is ``sigma`` levels."""
    soft = smooth(grey)
    plain = soft.astype(np.float32)
    energy = sampled(structure(plain))
    mean, deviation = (float(part[0, 0]) for part in cv2.meanStdDev(grey))
    return Photo(soft, plain, energy / (energy + 10), _detail(grey), _gradients(plain), sigma, mean, deviation)


def compare(photo: Photo, greys: dict[int, Grey], sigma: float, region: Region) -> Comparison:
    """Compare frames (by index, of the photo's size, with grain of ``sigma`` levels) with the photo."""
    tracker, grid = Tracker(careful=True), grid_of(*photo.soft.shape)
    views = [_view(photo, grey, sigma, (tracker, grid, region)) for grey in greys.values()]
    late = views[-_LATE:]
    weight = np.min([view.weight for view in late], axis=0)
    bent = _bent(np.mean([view.field for view in late], axis=0), weight, region)
    return Comparison(
        tuple(greys),
        bent,
        changed=tuple(view.changed for view in views),
        torn=tuple(view.torn for view in views),
        dulled=tuple(view.dulled for view in views),
        lost=tuple(view.lost for view in views),
    )


@dataclass(frozen=True)
class _View:
    """One frame against the photo: ``field`` (h, w, 2) px without the face's rigid motion, where ``weight`` says it
    counts."""

    field: Plane
    weight: Plane
    changed: float
    torn: float
    dulled: float
    lost: float


def _view(photo: Photo, grey: Grey, sigma: float, by: tuple[Tracker, Plane, Region]) -> _View:
    tracker, grid, region = by
    grey, gain = _relit(grey, photo)
    soft = smooth(grey)
    after = soft.astype(np.float32)
    forth, back = tracker.flow(photo.soft, soft), tracker.flow(soft, photo.soft)
    field = sampled(forth)
    weight = photo.weight * _in_view(field, photo.weight)
    rigid, aligned = _undone(field, weight, region, photo.soft.shape)
    loss = cv2.blur(1 - likeness(photo.plain, pulled_back(after, forth, grid)), (STEP_PX, STEP_PX))
    dulled = _dulled(photo, pulled_back(_detail(grey), forth, grid), sigma * gain, (region, weight))
    strays = sampled(straying(forth, back, grid).astype(np.float32))
    return _View(
        field if region.mask is None else field - rigid,
        weight,
        _changed(photo, pulled_back(after, aligned, grid), (region, weight)),
        region.worst(sampled(loss), weight),
        dulled,
        float((strays * weight).sum() / max(1e-6, float(weight.sum()))),
    )


def _relit(grey: Grey, photo: Photo) -> tuple[Grey, float]:
    """Return the frame with the photo's mean and deviation, and the gain: light that changes is not another picture."""
    mean, deviation = (float(part[0, 0]) for part in cv2.meanStdDev(grey))
    gain = float(np.clip(photo.contrast / max(deviation, 1.0), 0.125, 8.0))
    lit = (grey.astype(np.float32) - mean) * gain + photo.brightness
    return np.asarray(np.clip(lit, 0, 255), np.uint8), gain


def _in_view(field: Plane, weight: Plane) -> Plane:
    """Return (h, w) 0 or 1: whether a sample, moved as the whole frame moves, is still inside, by 16 px at least."""
    rigid, _ = rigid_part(field, weight)
    height, width = field.shape[:2]
    places = sampled_grid(height, width) + rigid
    inside = ((places > 16) & (places < np.array([width * STEP_PX - 16, height * STEP_PX - 16]))).all(axis=-1)
    return np.asarray(inside, np.float32)


def sampled_grid(height: int, width: int) -> Plane:
    """Return (h, w, 2): where samples lie, in px."""
    return np.asarray(grid_of(height, width) * STEP_PX + STEP_PX // 2, np.float32)


def _undone(field: Plane, weight: Plane, region: Region, size: tuple[int, ...]) -> tuple[Plane, Plane]:
    """Return the region's rigid motion on samples, and on every pixel: of the face, or smoothed over a window."""
    if region.mask is not None:
        rigid, matrix = rigid_part(field, weight * region.mask)
        points = (grid_of(size[0], size[1]) - STEP_PX // 2) / STEP_PX
        return rigid, np.asarray(points @ matrix[:2] + matrix[2], np.float32)
    side = region.size_px / STEP_PX
    rigid = np.dstack([windowed(np.ascontiguousarray(field[..., axis]), weight + 1e-3, side)[0] for axis in (0, 1)])
    return rigid, np.asarray(cv2.resize(rigid, (size[1], size[0]), interpolation=cv2.INTER_LINEAR))


def _bent(field: npt.NDArray[np.float32], weight: Plane, region: Region) -> float:
    if region.mask is not None:
        left, _ = rigid_part(field, weight * region.mask)
        power = ((field - left) ** 2).sum(axis=-1)
        return 100 * float(region.worst(power, weight) ** 0.5) / region.size_px
    power = unexplained(field, weight, region.size_px / STEP_PX)
    _, seen = windowed(power, weight, region.size_px / STEP_PX)
    return 100 * float(np.percentile(power[seen], 95)) ** 0.5 / region.size_px if seen.any() else 0.0


def unexplained(field: Plane, weight: Plane, side: float) -> Plane:
    """Return (h, w): the mean square, px squared, that the best affine motion of each window leaves of ``field``."""
    size = window_in(weight.shape, max(3, side))
    y, x = np.mgrid[: field.shape[0], : field.shape[1]].astype(np.float64)
    solid = weight.astype(np.float64) + 1e-4
    total = cv2.blur(solid, size)

    def mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.blur(values * solid, size) / total)

    mx, my = mean(x), mean(y)
    cxx, cyy, cxy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    det = np.maximum(cxx * cyy - cxy * cxy, 1e-9)
    left = np.zeros_like(mx)
    for axis in (0, 1):
        u = field[..., axis].astype(np.float64)
        mu = mean(u)
        cxu, cyu = mean(x * u) - mx * mu, mean(y * u) - my * mu
        slope_x, slope_y = (cyy * cxu - cxy * cyu) / det, (cxx * cyu - cxy * cxu) / det
        left += np.maximum(mean(u * u) - mu * mu - slope_x * cxu - slope_y * cyu, 0)
    return left.astype(np.float32)


def _gradients(plain: Plane) -> Plane:
    """Return (h, w, 9): root of the gradient's magnitude by orientation, averaged over 20 px, on samples."""
    across, along = cv2.Sobel(plain, cv2.CV_32F, 1, 0), cv2.Sobel(plain, cv2.CV_32F, 0, 1)
    size, angle = cv2.cartToPolar(across, along)
    bins = np.minimum((np.mod(angle, np.pi) * (_BINS / np.pi)).astype(np.int32), _BINS - 1)
    layers = [sampled(cv2.blur(size * (bins == index), (20, 20))) for index in range(_BINS)]
    return np.asarray(np.sqrt(np.maximum(np.stack(layers, axis=-1), 0)))


def _changed(photo: Photo, aligned: Plane, where: tuple[Region, Plane]) -> float:
    region, weight = where
    now, before = _gradients(aligned), photo.gradients
    seen = (weight > 0).astype(np.float32)
    parts = [(a * b).sum(axis=-1) * seen for a, b in ((before, now), (before, before), (now, now))]
    if region.mask is not None:
        dot, mine, other = (float((part * region.mask).sum()) for part in parts)
        return 1 - float(dot / max(1e-6, (mine * other) ** 0.5))
    size = window_in(weight.shape, region.size_px / STEP_PX)
    dots, mines, others = (cv2.blur(part, size, borderType=cv2.BORDER_CONSTANT) for part in parts)
    solid = mines > 0.3 * mines.mean()
    return float(np.percentile((1 - dots / np.sqrt(mines * others + 1e-6))[solid], 98)) if solid.any() else 0.0


def _detail(grey: Grey) -> Plane:
    fine = cv2.Laplacian(cv2.GaussianBlur(grey.astype(np.float32), (9, 9), 1.4), cv2.CV_32F)
    return np.asarray(cv2.blur(fine * fine, (9, 9)))


def _dulled(photo: Photo, detail: Plane, sigma: float, where: tuple[Region, Plane]) -> float:
    region, weight = where
    seen = (weight > 0).astype(np.float32)
    before = (sampled(photo.detail) - LOG14_NOISE_GAIN * photo.sigma**2) * seen
    after = (sampled(detail) - LOG14_NOISE_GAIN * sigma**2) * seen
    if region.mask is not None:
        total = max(1.0, float((region.mask * seen).sum()))
        first, now = (float((part * region.mask).sum()) / total for part in (before, after))
        return float(np.log((max(first, 0) + 0.2) / (max(now, 0) + 0.2)))
    side = region.size_px / STEP_PX
    firsts, solid = windowed(before, seen, side)
    nows, _ = windowed(after, seen, side)
    ratio = np.log((np.maximum(firsts, 0) + 0.2) / (np.maximum(nows, 0) + 0.2))
    return float(np.percentile(ratio[solid], 98)) if solid.any() else 0.0
