"""The pictures that train and test the bundled upscaler, how they are reduced, and how results are measured.

Photographs come from the scikit-image wheel (a development dependency; nothing is downloaded). Those trained on are CC0
or public domain according to the notes in ``skimage/data/_fetchers.py``; the rest of the training set is drawn here:
"dead leaves", random occluding shapes of scale-invariant size (Lee, Mumford, Huang, IJCV 2001), which have the edge
statistics of photographs.
"""

from fractions import Fraction
from importlib.resources import files
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Resampling

Picture = NDArray[np.uint8]
"""RGB, uint8, ``(H, W, 3)``."""

TRAINED = (
    "astronaut.png",  # NASA, public domain
    "brick.png",  # CC0
    "camera.png",  # CC0, Lav Varshney
    "cell.png",  # CC0, Genevieve Buckley
    "grass.png",  # CC0
    "gravel.png",  # CC0
    "horse.png",  # CC0, Andreas Preuss
    "hubble_deep_field.jpg",  # NASA, public domain
    "retina.jpg",  # CC0, Mikael Haeggstroem
    "text.png",  # released into the public domain
)
DATA_LICENCE = "CC0 and public-domain pictures bundled with scikit-image, and procedural pictures"
HELD_OUT = ("chelsea.png", "coffee.png", "motorcycle_left.png", "motorcycle_right.png", "rocket.jpg")
"""Natural pictures that no training may see, read from scikit-image and never redistributed: chelsea and coffee are
CC0, motorcycle belongs to the Middlebury stereo set, rocket is SpaceX's, public domain."""

REDUCTIONS = {"bicubic": Resampling.BICUBIC, "lanczos": Resampling.LANCZOS, "area": Resampling.BOX}
"""Antialiased reductions, by name."""

_OVERSAMPLED = 2


def photograph(name: str) -> Picture:
    """Return one picture of the scikit-image wheel, transparency over white, cut to even height and width."""
    with Image.open(BytesIO(files("skimage").joinpath("data", name).read_bytes())) as opened:
        picture = opened.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    array = np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    return array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2]


def resize(picture: Picture, height: int, width: int, kernel: Resampling) -> Picture:
    """Return ``picture`` at ``height`` x ``width`` px; antialiased when it shrinks."""
    return np.asarray(Image.fromarray(picture).resize((width, height), kernel))


def halve(picture: Picture, reduction: str) -> Picture:
    """Return ``picture`` at half its (even) height and width, by one of ``REDUCTIONS``."""
    return resize(picture, picture.shape[0] // 2, picture.shape[1] // 2, REDUCTIONS[reduction])


def reduce(picture: Picture, reduction: str, ratio: Fraction) -> Picture:
    """Return ``picture`` smaller by ``ratio``, which divides its sides into whole px, by one of ``REDUCTIONS``."""
    if reduction == "area":  # a box over whole pixels only: at x1.5 each pixel has to be split first
        picture = picture.repeat(ratio.denominator, axis=0).repeat(ratio.denominator, axis=1)
        ratio = Fraction(ratio.numerator)
    height, width = (int(side / ratio) for side in picture.shape[:2])
    return resize(picture, height, width, REDUCTIONS[reduction])


def divisible(picture: Picture, step: int) -> Picture:
    """Return the top left of ``picture``, as much as has a height and a width that are multiples of ``step`` px."""
    return picture[: picture.shape[0] // step * step, : picture.shape[1] // step * step]


def psnr_y(picture: Picture, truth: Picture, border: int = 4) -> float:
    """Return the peak signal to noise ratio in dB of full-range BT.601 luma, ``border`` px left out on every side."""
    weights = np.array([0.299, 0.587, 0.114])
    inside = slice(border, -border)
    error = (picture[inside, inside].astype(np.float64) - truth[inside, inside].astype(np.float64)) @ weights
    return float(10 * np.log10(255.0**2 / np.mean(error**2)))


def training_pictures(leaves: int) -> list[Picture]:
    """Return the photographs of ``TRAINED`` and ``leaves`` drawn ones; JPEGs at half size, which hides their blocks."""
    pictures = []
    for name in TRAINED:
        picture = photograph(name)
        if name.endswith(".jpg"):
            picture = resize(picture, picture.shape[0] // 4 * 2, picture.shape[1] // 4 * 2, Resampling.LANCZOS)
        pictures.append(picture)
        if name in ("astronaut.png", "camera.png", "brick.png"):  # again, smaller: finer detail per pixel
            pictures.append(resize(picture, 320, 320, Resampling.LANCZOS))
    return pictures + [dead_leaves(seed) for seed in range(leaves)]


def dead_leaves(seed: int, size: int = 512, count: int = 900) -> Picture:
    """Draw ``count`` textured shapes and glyphs over one another: ``(size, size, 3)``, the same for the same seed."""
    rng = np.random.default_rng(seed)
    large = size * _OVERSAMPLED
    grain = _pink_noise(rng, large)
    canvas = _fill(rng, grain)
    smallest, largest = 3.0 * _OVERSAMPLED, 130.0 * _OVERSAMPLED
    for _ in range(count):
        share = rng.random()  # radii of density r^-2: one less than a scene's -3, or small shapes would crowd out edges
        radius = int(1 / (share / largest + (1 - share) / smallest))
        mask = _glyph(rng, radius) if rng.random() < 0.12 else _outline(rng, radius)
        x, y = rng.integers(-radius, large, 2)
        top, left = max(y, 0), max(x, 0)
        part = mask[top - y : large - y, left - x : large - x]
        box = (slice(top, top + part.shape[0]), slice(left, left + part.shape[1]))
        cover = part[..., None].astype(np.float32) / 255
        canvas[box] += cover * (_fill(rng, grain[box]) - canvas[box])
    drawn = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return resize(drawn, size, size, Resampling.BOX)


def _pink_noise(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """``(size, size)``, zero mean, unit deviation, amplitude falling as 1/frequency, as photographs' spectra do."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) / frequency, s=(size, size))
    scaled: NDArray[np.float32] = (noise / noise.std()).astype(np.float32)
    return scaled


def _outline(rng: np.random.Generator, radius: int) -> Picture:
    """The mask, uint8 ``(2 * radius, 2 * radius)``, of an ellipse, a polygon or a bar, turned at random."""
    kind = rng.random()
    if kind < 0.4:
        angles = np.linspace(0, 2 * np.pi, max(12, radius), endpoint=False)
        points = np.stack([np.cos(angles), np.sin(angles) * rng.uniform(0.25, 1)])
    elif kind < 0.75:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        points = np.stack([np.cos(angles), np.sin(angles)])
    else:
        half = rng.uniform(0.02, 0.3)
        points = np.array([[-1, 1, 1, -1], [-half, -half, half, half]])
    turn = rng.uniform(0, 2 * np.pi)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ points
    mask = Image.new("L", (2 * radius, 2 * radius))
    ImageDraw.Draw(mask).polygon([(float(x), float(y)) for x, y in ((turned + 1) * radius).T], fill=255)
    return np.asarray(mask)


def _glyph(rng: np.random.Generator, radius: int) -> Picture:
    """The mask of one to five characters, about ``radius`` px high."""
    text = "".join(chr(code) for code in rng.integers(ord("0"), ord("z") + 1, rng.integers(1, 6)))
    font = ImageFont.load_default(max(10, radius))
    left, top, right, bottom = (int(edge) for edge in font.getbbox(text))
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), text, fill=255, font=font)
    return np.asarray(mask.rotate(float(rng.choice([0, 0, 90, rng.uniform(0, 360)])), expand=True))


def _fill(rng: np.random.Generator, grain: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return colours for a box of ``grain.shape``: flat, grained or striped, sloping; float32, about 0..255."""
    height, width = grain.shape
    colour = rng.integers(15, 240) + rng.normal(0, 35, 3)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = rows * np.float32(np.sin(angle)) + columns * np.float32(np.cos(angle))
    shade = grain * rng.choice([0, rng.uniform(2, 30)]) + along * rng.normal(0, 10) / max(height, width, 1)
    if rng.random() < 0.2:
        shade = shade + rng.uniform(8, 60) * np.sin(2 * np.pi * along * rng.uniform(0.01, 0.24))
    filled: NDArray[np.float32] = (shade[..., None] + colour).astype(np.float32)
    return filled
