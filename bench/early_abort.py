"""Does the outlook give up on hopeless attempts, and on no other? `python -m bench.early_abort test`

No trained model takes part, so this is no evidence of how real generators fail. Trajectories are simulated: labelled
clips of real and drawn pictures (`tests.metrics.clips`) become latents of a linear stand-in for an autoencoder (8x8
cosine transform of luma and colour, the 16 lowest coefficients, each scaled to deviation 1 over the `train` clips; the
first frame alone, then means of four; every third frame counts). Noise is mixed in as flow matching does, and x0 is
estimated by the Wiener filter of the clips' mean spectrum, which knows neither prompt nor picture: a network's estimate
is better than that. One Euler step along it is what the outlook sees. Legitimate is motion of five kinds, also of
pictures made dim, very dark and very flat; hopeless are: another picture's clip, one flat colour, nothing (0.02 of it),
blown up (20 times), uniform noise. Frame 0 is held at the picture (as LTX does) or made (as Wan does).

One line per family of pictures, noise level and kind: the share that was given up, and the measured range. Arguments:
the set, how many draws, and the subjects (all).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch

from bench.record import emit
from deployments.nets.outlook import Look, Outlook, estimate, seen
from serve_app.core.errors import Rejected
from serve_app.core.media import Pixels
from tests.metrics.clips import NAMES, clip
from tests.metrics.fields import Split
from tests.metrics.pictures import subject

Latents = npt.NDArray[np.float32]
MOTIONS = ("pan", "zoom", "head", "expression", "combination")
LEVELS = ((0.9, 0.8), (0.75, 0.6), (0.5, 0.4))
"""Noise before and after the step that is looked at."""
_LUMA, _COLOUR, _TIME, _EVERY = 10, 3, 4, 3


def transformed(frame: Pixels) -> Latents:
    """Return (16, h / 8, w / 8): the lowest coefficients of every 8x8 block of luma and the two colours."""
    planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float32) / 127.5 - 1
    height, width = frame.shape[0] // 8, frame.shape[1] // 8
    basis = cv2.dct(np.eye(8, dtype=np.float32))
    order = sorted(np.ndindex(8, 8), key=lambda place: (sum(place), place))
    waves = np.stack([np.outer(basis[row], basis[column]).ravel() for row, column in order[:_LUMA]], axis=1)
    layers = []
    for plane, count in zip(np.moveaxis(planes, -1, 0), (_LUMA, _COLOUR, _COLOUR), strict=True):
        blocks = plane[: height * 8, : width * 8].reshape(height, 8, width, 8).transpose(0, 2, 1, 3)
        layers.append(blocks.reshape(height, width, 64) @ waves[:, :count])
    return np.moveaxis(np.concatenate(layers, axis=-1), -1, 0)


@cache
def scales() -> Latents:
    """Return the deviation of every channel over the pictures of the `train` set, (16, 1, 1, 1)."""
    found = np.stack([transformed(subject(name).pixels) for name in NAMES["train"]], axis=1)
    return np.asarray(found.std(axis=(1, 2, 3), keepdims=True))


def encoded(frames: Pixels) -> Latents:
    """Return latents (16, 1 + T // 4, h, w) of T frames."""
    each = np.stack([transformed(frame) for frame in frames], axis=1)
    groups = [each[:, :1], *(each[:, i : i + _TIME].mean(1, keepdims=True) for i in range(1, len(frames), _TIME))]
    return np.asarray(np.concatenate(groups, axis=1) / scales(), np.float32)


@cache
def spectrum() -> Latents:
    """Return the mean power (16, h, w) of the `train` pictures' latents by frequency."""
    powers = [np.abs(np.fft.fft2(encoded(subject(name).pixels[None])[:, 0])) ** 2 for name in NAMES["train"]]
    return np.asarray(np.mean(powers, axis=0), np.float32)


def guessed(noisy: Latents, level: float) -> Latents:
    """Return the linear estimate of x0 in (C, T, h, w) at a noise level."""
    size = noisy.shape[2] * noisy.shape[3]
    gain = (1 - level) * spectrum() / ((1 - level) ** 2 * spectrum() + level**2 * size)
    return np.asarray(np.fft.ifft2(np.fft.fft2(noisy) * gain[:, None]).real, np.float32)


@dataclass(frozen=True)
class Attempt:
    """Latents that a generator is on the way to, those of its picture (C, h, w), and what is to be said of it."""

    kind: str
    goal: Latents
    picture: Latents
    is_hopeless: bool


def attempts(split: Split, name: str, draw: int) -> Iterator[Attempt]:
    """Yield every kind of attempt for one picture."""
    others = [other for other in NAMES[split] if other != name]
    rng = np.random.default_rng(draw)
    of = subject(name).pixels[None]
    for kind in MOTIONS:
        frames = clip(split, name, kind, draw).frames[::_EVERY]
        for tone, gain, lift in (("", 1.0, 0.0), (" dim", 0.3, 0.0), (" dark", 0.08, 0.0), (" flat", 0.06, 120.0)):
            picture = encoded(_toned(of, gain, lift))[:, 0]
            yield Attempt(f"{kind}{tone}", encoded(_toned(frames, gain, lift)), picture, False)
    picture, good = encoded(of)[:, 0], encoded(frames)
    other = encoded(clip(split, str(rng.choice(others)), "pan", draw).frames[::_EVERY])
    yield Attempt("another picture", other, picture, True)
    yield Attempt("one colour", np.zeros_like(good) + good.mean(axis=(2, 3), keepdims=True), picture, True)
    yield Attempt("nothing", 0.02 * good, picture, True)
    yield Attempt("blown up", 20 * good, picture, True)
    yield Attempt("uniform noise", rng.standard_normal(good.shape).astype(np.float32), picture, True)


def _toned(frames: Pixels, gain: float, lift: float) -> Pixels:
    return np.asarray(np.clip(frames * np.float32(gain) + np.float32(lift), 0, 255), np.uint8)


def stepped(attempt: Attempt, levels: tuple[float, float]) -> tuple[Latents, Latents]:
    """Return the latents before and after one Euler step along the linear estimate."""
    rng = np.random.default_rng(len(attempt.kind))
    noise = rng.standard_normal(attempt.goal.shape).astype(np.float32)
    before = (1 - levels[0]) * attempt.goal + levels[0] * noise
    velocity = (before - guessed(before, levels[0])) / levels[0]
    return before, before + (levels[1] - levels[0]) * velocity


def looked_at(
    attempt: Attempt, step: tuple[Latents, Latents], levels: tuple[float, float], is_held: bool
) -> tuple[bool, float, float]:
    """Return whether an attempt was given up, its spread and its relation to the picture."""
    first, second = (torch.from_numpy(each.copy())[None] for each in step)
    if is_held:
        first[0, :, 0] = second[0, :, 0] = torch.from_numpy(attempt.picture)
    condition = torch.from_numpy(attempt.picture)[None, :, None]
    look = Look(0.0, first=1) if is_held else Look(0.0, condition="condition")
    outlook = Outlook(look)
    pipeline = SimpleNamespace(scheduler=SimpleNamespace(sigmas=[1.0, *levels, 0.0]), num_timesteps=3)
    outlook.see(pipeline, 0, {"latents": first, "condition": condition})
    sight = seen(estimate(first, second, levels)[0], torch.from_numpy(attempt.picture), 1 if is_held else 0)
    try:
        outlook.see(pipeline, 1, {"latents": second, "condition": condition})
    except Rejected:
        return True, sight.spread, sight.relation or 0.0
    return False, sight.spread, sight.relation or 0.0


def main() -> None:
    """Look at every attempt of a set; status 1 if a legitimate one is given up."""
    words = [*sys.argv[1:], *("test", "1", "")[len(sys.argv) - 1 :]]
    split, false_aborts = cast(Split, words[0]), 0
    found: dict[tuple[str, bool], list[tuple[bool, float, float]]] = defaultdict(list)
    for name in words[2].split(",") if words[2] else NAMES[split]:
        for draw in range(int(words[1])):
            for attempt in attempts(split, name, draw):
                for levels in LEVELS:
                    step = stepped(attempt, levels)
                    for is_held in (True, False):
                        result = looked_at(attempt, step, levels, is_held)
                        group = (
                            attempt.kind
                            if attempt.is_hopeless
                            else f"LEGITIMATE {attempt.kind.partition(' ')[2]}".strip()
                        )
                        case = f"{split}, noise {levels[0]:g}, frame 0 {'held' if is_held else 'made'}: {group}"
                        found[case, attempt.is_hopeless].append(result)
    for (case, is_hopeless), results in found.items():
        given_up, spreads, relations = (list(column) for column in zip(*results, strict=True))
        false_aborts += 0 if is_hopeless else sum(given_up)
        extremes = {"spread_min": min(spreads), "spread_max": max(spreads)}
        extremes |= {"relation_min": min(relations), "relation_max": max(relations)}
        emit("early_abort", case=case, attempts=len(results), given_up=sum(given_up) / len(results), **extremes)
    sys.exit(1 if false_aborts else 0)


if __name__ == "__main__":
    main()
