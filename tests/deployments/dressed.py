"""Every family that wears adapters, loaded with tiny weights, and beside it `adapt.lora` with the same artifacts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deployments.adapt.lora import Lora
from deployments.generate.flux import Flux
from deployments.generate.ltx2 import Ltx2
from deployments.generate.ltx_video import LtxVideo
from deployments.generate.qwen_image import QwenImage
from deployments.generate.wan import Wan
from deployments.generate.z_image import ZImage
from deployments.nets.lora.families import FamilyName
from deployments.nets.lora.loaded import layer_at
from serve_app.core.adapter import Adapters, WantedAdapters
from serve_app.core.media import Clip, Pixels
from tests.deployments import tiny_flux, tiny_ltx2, tiny_ltx_video, tiny_qwen_image, tiny_wan, tiny_z_image
from tests.deployments.desk import DeskContext
from tests.deployments.lora.files import Made, Make, make


@dataclass(frozen=True)
class Kind:
    """A family's stage, its tiny weights, and its smallest render."""

    stage: Any
    build: Callable[[Path], Path]
    small: dict[str, Any]


_PICTURE = {"width": 48, "height": 48, "steps": 2}
_CLIP = {"width": 64, "height": 64}

KINDS: Mapping[FamilyName, Kind] = {
    "ltx2": Kind(Ltx2, tiny_ltx2.build, {**_CLIP, "frames": 9, "steps": 2}),
    "flux": Kind(Flux, tiny_flux.build, _PICTURE),
    "qwen-image": Kind(QwenImage, tiny_qwen_image.build, {**_PICTURE, "guidance": 1.0}),
    "z-image": Kind(ZImage, tiny_z_image.build, _PICTURE),
    "wan": Kind(Wan, tiny_wan.build, {**_CLIP, "frames": 5, "steps": 4, "guidance": 1.0}),
    "ltx-video": Kind(LtxVideo, tiny_ltx_video.build, {**_CLIP, "frames": 9, "steps": 2, "guidance": 1.0}),
}


@dataclass
class Dressed:
    """A loaded stage, what finds its adapters, and the directory that they lie in."""

    family: FamilyName
    stage: Any
    lora: Lora
    desk: DeskContext
    directory: Path

    @property
    def modules(self) -> Mapping[str, torch.nn.Module]:
        """What adapters change, by part."""
        modules: Mapping[str, torch.nn.Module] = self.stage._rack._modules
        return modules

    @property
    def layers(self) -> dict[str, torch.nn.Linear]:
        """Path -> layer, for every linear one."""
        return {
            f"{part}.{name}": layer
            for part, module in self.modules.items()
            for name, layer in module.named_modules()
            if isinstance(layer, torch.nn.Linear)
        }

    def put(self, name: str, layout: str = "peft", **changes: Any) -> Made:
        """Write an adapter for every layer (or those with ``only`` in their path) and return what it does."""
        made = make(Make(self.family, layout, **changes, layers=self.layers))
        made.save(self.directory / f"{name}.safetensors")
        return made

    def find(self, names: str, **params: Any) -> Adapters:
        """Return what a request for ``names`` becomes."""
        return self.lora.run(Lora.Params(**params), adapter=WantedAdapters.parse(names))

    def render(self, names: str | None = None, seed: int = 7, **changes: Any) -> Pixels:
        """Return the frames or the picture of the smallest render, with adapters by ``names``."""
        self.desk.notes.clear()
        self.desk.warnings.clear()
        adapters = None if names is None else self.find(names)
        params = self.stage.Params(**{**KINDS[self.family].small, **changes})
        made = self.stage.run(params, prompt="a red fox", seed=seed, adapters=adapters)
        pixels: Pixels = made.frames if isinstance(made, Clip) else made.pixels
        return pixels

    def bits(self) -> dict[str, torch.Tensor]:
        """Return copies of every weight that adapters may change."""
        return {
            f"{part}.{name}": tensor.clone()
            for part, module in self.modules.items()
            for name, tensor in module.state_dict().items()
        }

    def is_pristine(self, bits: Mapping[str, torch.Tensor]) -> bool:
        """Whether the weights are ``bits`` to the bit, and no layer's forward is another's."""
        now = self.bits()
        layers = [layer for module in self.modules.values() for layer in module.modules()]
        is_untouched = not any(layer._forward_hooks or "forward" in vars(layer) for layer in layers)
        return is_untouched and now.keys() == bits.keys() and all(torch.equal(now[key], bits[key]) for key in bits)

    @contextmanager
    def dense(self, *added: tuple[Made, float]) -> Iterator[None]:
        """Add the dense differences to the weights themselves, and put the weights back."""
        bits = self.bits()
        with torch.no_grad():
            for made, strength in added:
                for path, dense in made.dense.items():
                    weight: Any = layer_at(self.modules, path).weight
                    weight.copy_(weight.double() + strength * dense)
        try:
            yield
        finally:
            for part, module in self.modules.items():
                module.load_state_dict(
                    {key.removeprefix(f"{part}."): bits[key] for key in bits if key.startswith(part + ".")}
                )


def dress(family: FamilyName, weights: Path, root: Path, **given: Any) -> Dressed:
    """Load ``family``'s stage from ``weights``; adapters lie in ``root``/adapters."""
    kind, desk, directory = KINDS[family], DeskContext(root / "desk"), root / "adapters"
    directory.mkdir(parents=True, exist_ok=True)
    stage, lora = kind.stage(), Lora()
    stage.load(stage.Weights(**{"model": str(weights), **given}), desk)
    lora.load(Lora.Weights(family=family, model=str(weights), directories=(str(directory),)), desk)
    return Dressed(family, stage, lora, desk, directory)


def is_close(one: Pixels, other: Pixels) -> bool:
    """Whether two renders differ by no more than how sums of floats are rounded: a level here and there."""
    return int(np.abs(one.astype(int) - other.astype(int)).max()) <= 1
