"""The stage `generate.ltx2` and, beside it, the bare pipelines of diffusers: what each does with the same call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTX2ImageToVideoPipeline, LTX2Pipeline

from deployments.generate.ltx2 import Ltx2
from deployments.nets.loading import settle
from deployments.nets.ltx2_sampling import UNGUIDED, reference_sigmas
from serve_app.core.media import Clip, Image, Pixels
from tests.deployments.desk import DeskContext

SMALL = Ltx2.Params(width=64, height=64, frames=9, steps=3)
PROMPT = "a red fox walks through snow"
SEED = 7


@dataclass
class LoadedLtx2:
    """A loaded stage and the desk that it reports to."""

    stage: Ltx2
    desk: DeskContext

    def make(self, prompt: str = PROMPT, seed: int = SEED, image: Image | None = None, **changes: Any) -> Clip:
        """Run the stage with SMALL and ``changes`` to it; ``adapters`` are worn, and the other pictures are ports."""
        ports = {port: changes.pop(port, None) for port in ("adapters", "middle_image", "last_image")}
        params = Ltx2.Params(**{**SMALL.model_dump(), **changes})
        return self.stage.run(params, prompt=prompt, seed=seed, image=image, **ports)

    def clear(self) -> None:
        """Empty the desk, and cancel nothing any more."""
        self.desk.cancel_after = None
        self.desk.clear()

    @property
    def part(self) -> Any:
        """The shared modules, by name: ``part.transformer``."""
        return self.stage._pipelines.encoder


@dataclass
class RawLtx2:
    """Two pipelines as `from_pretrained` and `from_pipe` give them."""

    from_text: Any
    from_image: Any

    def call(self, image: Image | None = None, **changes: Any) -> Any:
        """Call the right one with everything as the stage has it, but for ``changes``."""
        call: dict[str, Any] = {
            "prompt": PROMPT,
            "width": SMALL.width,
            "height": SMALL.height,
            "num_frames": SMALL.frames,
            "frame_rate": 24.0,
            "num_inference_steps": SMALL.steps,
            "sigmas": list(reference_sigmas(SMALL.steps)),
            "use_cross_timestep": False,
            "generator": torch.Generator("cpu").manual_seed(SEED),
            "output_type": "np",
            **asdict(UNGUIDED),
            **changes,
        }
        if image is None:
            return self.from_text(**call)
        import PIL.Image

        return self.from_image(image=PIL.Image.fromarray(image.pixels), **call)

    @contextmanager
    def static(self) -> Iterator[None]:
        """Lend both pipelines a scheduler that does not warp sigmas."""
        published = self.from_text.scheduler
        still = FlowMatchEulerDiscreteScheduler.from_config(
            published.config, use_dynamic_shifting=False, shift_terminal=None
        )
        self.from_text.scheduler = self.from_image.scheduler = still
        try:
            yield
        finally:
            self.from_text.scheduler = self.from_image.scheduler = published


def load(directory: Path, desk: Path, **weights: Any) -> LoadedLtx2:
    """Load the stage from ``directory``; the tiny transformer has no block 29, so guidance perturbs block 2."""
    context, stage = DeskContext(desk), Ltx2()
    stage.load(Ltx2.Weights(**{"model": str(directory), "stg_blocks": (2,), **weights}), context)
    return LoadedLtx2(stage, context)


def load_raw(directory: Path) -> RawLtx2:
    """Load the pipelines of diffusers from ``directory``."""
    text = LTX2Pipeline.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    settle(text)  # as ours do: the last bit depends on where a weight lies in memory
    image = LTX2ImageToVideoPipeline.from_pipe(text)
    for pipeline in (text, image):
        pipeline.set_progress_bar_config(disable=True)
    return RawLtx2(text, image)


@contextmanager
def batches(module: torch.nn.Module) -> Iterator[list[int]]:
    """Count a module's forward passes: the batch size of each goes into the list."""
    seen: list[int] = []

    def note(_: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = args or [named[name] for name in ("hidden_states", "input_ids") if name in named]
        seen.append(int(values[0].shape[0]))

    handle = module.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def replaced(tensor: torch.Tensor, value: float) -> Iterator[None]:
    """Fill a weight with ``value`` for a while."""
    kept = tensor.detach().clone()
    with torch.no_grad():
        tensor.fill_(value)
    try:
        yield
    finally:
        with torch.no_grad():
            tensor.copy_(kept)


def picture(width: int, height: int) -> Image:
    """Return a picture whose every pixel differs from its neighbours a little."""
    rows, columns = np.mgrid[0:height, 0:width]
    return Image(np.stack([columns * 2 % 256, rows * 3 % 256, (rows + columns) % 256], axis=-1).astype(np.uint8))


def quantised(frames: Any) -> Pixels:
    """Return what diffusers gives, floats ``(1, T, H, W, 3)`` in 0..1, as uint8 ``(T, H, W, 3)``."""
    pixels: Pixels = np.rint(frames[0] * 255).astype(np.uint8)
    return pixels
