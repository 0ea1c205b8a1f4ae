"""Trains the bundled small EDSRs: ``python -m deployments.nets.training.edsr --out FILE --steps 22000 [--scale 1.5]``.

About 21 minutes on one AMD EPYC core. The network for 1.5 begins with the bundled one's body, for which 12000 steps
(12 minutes) are enough. Seeded; equal bytes need the same machine and thread count, as sums round
differently.
"""

import argparse
import json
import logging
import math
import statistics
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Resampling
from torch import Tensor, nn
from torch.nn import functional

from deployments.nets.edsr import BUILTIN, SMALL, SMALL_X1_5, Edsr, EdsrConfig, load, save
from deployments.nets.training.pictures import (
    DATA_LICENCE,
    HELD_OUT,
    REDUCTIONS,
    Picture,
    divisible,
    photograph,
    psnr_y,
    reduce,
    resize,
    training_pictures,
)

LOG = logging.getLogger(__name__)
BATCH, CROP = 16, 32
PEAK_RATE, WARM_UP, AVERAGED = 1e-3, 100, 0.999
CONFIGS = {"2": SMALL, "1.5": SMALL_X1_5}
"""By the scale that the command line asks for."""


class Crops:
    """Draw batches of matching low- and high-resolution crops, turned, mirrored and recoloured at random."""

    def __init__(self, pictures: list[Picture], seed: int, ratio: Fraction = Fraction(2)) -> None:
        self._rng, self._ratio = np.random.default_rng(seed), ratio
        whole = [divisible(picture, ratio.numerator) for picture in pictures]
        self._pairs = [(picture, [reduce(picture, name, ratio) for name in REDUCTIONS]) for picture in whole]
        sides = np.array([math.sqrt(picture.size) for picture in pictures])
        self._odds = sides / sides.sum()  # by side, not by area: small pictures are the sharper ones

    def batch(self) -> tuple[Tensor, Tensor]:
        """Float32 in 0..1: ``(BATCH, 3, CROP, CROP)`` and ``(BATCH, 3, CROP * ratio, CROP * ratio)``."""
        chosen = self._rng.choice(len(self._pairs), BATCH, p=self._odds)
        drawn = [self._crop(*self._pairs[index]) for index in chosen]
        low, high = (np.stack(side).transpose(0, 3, 1, 2) for side in zip(*drawn, strict=True))
        return _channels_last(low), _channels_last(high)

    def _crop(self, picture: Picture, reduced: list[Picture]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        small = reduced[self._rng.integers(len(reduced))]
        up, down = self._ratio.numerator, self._ratio.denominator
        y, x = (int(self._rng.integers((side - CROP) // down + 1)) for side in small.shape[:2])
        low = small[down * y : down * y + CROP, down * x : down * x + CROP]
        side = CROP // down * up
        high = picture[up * y : up * y + side, up * x : up * x + side]
        turns, is_mirrored = int(self._rng.integers(4)), bool(self._rng.integers(2))
        # Channel gains commute with the reduction, so grey photographs can teach colour.
        gains = self._rng.uniform(0.5, 1, 3) if self._rng.random() < 0.5 else np.ones(3)
        order = self._rng.permutation(3)

        def vary(crop: Picture) -> NDArray[np.float32]:
            turned = np.rot90(crop[:, ::-1] if is_mirrored else crop, turns)
            return (turned[:, :, order] * (gains / 255)).astype(np.float32)

        return vary(low), vary(high)


def _channels_last(array: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(array).contiguous(memory_format=torch.channels_last)


def initialise(network: Edsr) -> None:
    """Fresh weights that start close to the bicubic skip: small residuals, a nearly silent tail."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias) if module.bias is not None else None
    quiet = {"conv2.weight": 0.1, "body_end.weight": 0.3, "up.0.weight": 0.02}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            for ending, factor in quiet.items():
                if name.endswith(ending):
                    parameter.mul_(factor)


def fresh(config: EdsrConfig, seed: int) -> Edsr:
    """Return a network to train; one that does not double takes over what the bundled one that does has learnt."""
    torch.manual_seed(seed)
    network = Edsr(config).channels_last()
    initialise(network)
    if config.ratio != SMALL.ratio:
        learnt = load(BUILTIN["small"]).state_dict()
        network.load_state_dict({k: v for k, v in learnt.items() if not k.startswith("up.")}, strict=False)
    return network


def train(steps: int, network: Edsr, crops: Crops) -> Edsr:
    """Minimise the L1 error over ``steps`` batches; return the running average of the weights, in eval mode."""
    averaged = Edsr(network.config).eval().requires_grad_(False)
    averaged.load_state_dict(network.state_dict())
    optimiser = torch.optim.Adam(network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99))
    errors, started = [], time.process_time()
    for step in range(1, steps + 1):
        rate = PEAK_RATE * min(1.0, step / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-6
        for group in optimiser.param_groups:
            group["lr"] = rate
        low, high = crops.batch()
        with torch.autocast("cpu", torch.bfloat16):
            enlarged = network(low)
        error = functional.l1_loss(enlarged, high)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            for kept, current in zip(averaged.parameters(), network.parameters(), strict=True):
                kept.lerp_(current, 1 - min(AVERAGED, step / (step + 9)))
        errors.append(error.item())
        if step % 500 == 0:
            spent = time.process_time() - started
            LOG.info("step %d: L1 %.3f levels, %.0f cpu s", step, 255 * statistics.fmean(errors[-500:]), spent)
    return averaged


def enlarge(network: Edsr, picture: Picture) -> Picture:
    """Return ``picture`` through ``network`` in float32, rounded to uint8."""
    x = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = network(x)
    array: Picture = (y[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return array


def gains(network: Edsr) -> dict[str, float]:
    """Return the PSNR-Y gain in dB over bicubic for every held-out picture and reduction, by "picture/reduction"."""
    gained, ratio = {}, network.config.ratio
    for name in HELD_OUT:
        truth = divisible(photograph(name), network.config.scale)
        for reduction in REDUCTIONS:
            small = reduce(truth, reduction, ratio)
            bicubic = psnr_y(resize(small, truth.shape[0], truth.shape[1], Resampling.BICUBIC), truth)
            gained[f"{name}/{reduction}"] = round(psnr_y(enlarge(network, small), truth) - bicubic, 2)
    return gained


def main() -> None:
    """Train, measure on the held-out pictures with the weights as they are stored, and write the file."""
    parser = argparse.ArgumentParser(description="Train the bundled small EDSR upscaler.")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--steps", type=int, default=22_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", choices=list(CONFIGS), default="2", help="how many times as high and wide")
    parser.add_argument("--leaves", type=int, default=24, help="procedural pictures beside the photographs")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parser.parse_args()
    config = CONFIGS[arguments.scale]
    crops = Crops(training_pictures(arguments.leaves), arguments.seed, config.ratio)
    network = train(arguments.steps, fresh(config, arguments.seed), crops)
    gained = gains(network.half().float())
    LOG.info("gain over bicubic: mean %.2f dB, %s", statistics.fmean(gained.values()), json.dumps(gained, indent=1))
    command = f"--steps {arguments.steps} --seed {arguments.seed} --leaves {arguments.leaves} --scale {arguments.scale}"
    facts = {
        "data": DATA_LICENCE,
        "training": f"python -m deployments.nets.training.edsr {command}",
        "psnr_y_gain_db": json.dumps(gained),
    }
    save(network, arguments.out, facts)


if __name__ == "__main__":
    main()
