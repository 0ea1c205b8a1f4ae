"""Applying adapters to a model, two ways, both undone to the bit.

Unfused: ``strength * scale * B @ (A @ x)`` is added in each layer's forward; no weight is touched, any mix costs two
narrow products per adapter and layer. Baked: each weight becomes ``W + sum(strength * scale * B @ A)``, added
up in fp32 from the pristine weight and rounded once; a step then costs what the base costs. A weight is never brought
back by subtracting: in bf16 every cycle would leave it an ulp off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from deployments.nets.lora.loaded import Loaded
from deployments.nets.lora.normal import Pair
from deployments.nets.lora.weights import Pristine

Worn = Sequence[tuple[Loaded, float]]
"""Adapters with their strengths, none of them 0, in the order of the request."""


@dataclass
class Extra:
    """What is added to one layer's output, and how often it was."""

    terms: list[tuple[Pair, float]] = field(default_factory=list)
    calls: int = 0

    def install(self, layer: torch.nn.Module) -> Callable[[], None]:
        """Put the terms into the forward of ``layer``; return what takes them out again."""
        # Somebody else's forward (weights kept in FP8, moved as they are used) and packed weights stay in charge.
        if type(layer) is not torch.nn.Linear or "forward" in vars(layer):
            return layer.register_forward_hook(self._after).remove
        vars(layer)["forward"] = partial(self._instead, layer)
        return lambda: delattr(layer, "forward")

    def _after(self, layer: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        self.calls += 1
        self.add(args[0], output)

    def _instead(self, layer: torch.nn.Linear, input: torch.Tensor) -> torch.Tensor:
        """Compute the layer with its terms, the small ones first: in bf16 the large sum is then rounded once."""
        self.calls += 1
        x = input.reshape(-1, input.shape[-1])
        pair, factor = self.terms[0]
        start, has_bias = (x.new_empty(1), 0) if layer.bias is None else (layer.bias, 1)
        total = torch.addmm(start, functional.linear(x, pair.down), pair.up.T, beta=has_bias, alpha=factor)
        for pair, factor in self.terms[1:]:
            total = total.addmm(functional.linear(x, pair.down), pair.up.T, alpha=factor)
        return torch.addmm(total, x, layer.weight.T).reshape(*input.shape[:-1], -1)

    def add(self, x: torch.Tensor, output: torch.Tensor) -> None:
        """Add the terms for inputs ``x`` (..., inputs) to ``output`` (..., outputs), in place."""
        flat_x, flat_output = x.reshape(-1, x.shape[-1]), output.view(-1, output.shape[-1])
        for pair, factor in self.terms:
            flat_output.addmm_(functional.linear(flat_x, pair.down), pair.up.T, alpha=factor)


class Unfused:
    """Terms that are in force inside ``with``, and gone after it whatever happened."""

    def __init__(self, modules: Mapping[str, torch.nn.Module], worn: Worn) -> None:
        self._modules, self._worn = modules, worn
        self._layers: dict[str, torch.nn.Module] = {}
        self.extras: dict[str, Extra] = {}
        """The layers that get terms, by path."""
        for loaded, strength in worn:
            for path, change in loaded.changes.items():
                if change.pair:
                    self._layers[path] = loaded.layers[path]
                    term = (change.pair, strength * change.pair.scale)
                    self.extras.setdefault(path, Extra()).terms.append(term)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply inside ``with``. Differences of whole weights, which no term can be, are written and restored."""
        pristine, undo = Pristine(self._modules), list[Callable[[], None]]()
        try:
            for name, value in _sums(pristine, self._worn, with_pairs=False).items():
                pristine.write(name, value)
            for path, extra in self.extras.items():
                undo.append(extra.install(self._layers[path]))
            yield
        finally:
            for take_out in undo:
                take_out()
            pristine.restore_all()

    def silent(self, device: torch.device) -> list[str]:
        """Return the layers whose output does not change for random inputs, in the dtype that they compute in."""
        changed: dict[str, torch.Tensor] = {}
        generator = torch.Generator("cpu").manual_seed(0)
        with torch.no_grad():
            for path, extra in self.extras.items():
                down = extra.terms[0][0].down
                weight = self._layers[path].weight
                assert isinstance(weight, torch.Tensor)
                x = torch.randn(4, down.shape[1], generator=generator).to(device, down.dtype)
                plain = functional.linear(x, weight.to(device, down.dtype))
                with_terms = plain.clone()
                extra.add(x, with_terms)
                changed[path] = (plain != with_terms).any()
            flags = torch.stack(list(changed.values())).tolist() if changed else []
        return [path for path, is_changed in zip(changed, flags, strict=True) if not is_changed]


class Baked:
    """Weights that hold one set of adapters at a time, made anew from the pristine ones for every other set."""

    def __init__(self, modules: Mapping[str, torch.nn.Module], device: torch.device) -> None:
        """`device` is where the sums are made; the weights may rest elsewhere."""
        self._pristine, self._device = Pristine(modules), device
        self._held: Any = None

    @property
    def pristine_bytes(self) -> int:
        """Host memory that the copies of changed weights take."""
        return self._pristine.size_bytes

    def hold(self, key: Any, worn: Worn) -> list[str]:
        """Make the weights those of ``worn``, whose identity is ``key``; return the weights that came out unchanged.

        A set that is held already costs nothing. If it fails half-way, the base is restored before it raises.
        """
        if key == self._held:
            return []
        self._held, is_done = None, False
        try:
            silent = self._bake(worn)
            is_done = True
        finally:
            if not is_done:
                self._pristine.restore_all()
        self._held = key
        return silent

    def release(self) -> None:
        """Restore the base, to the bit."""
        self._held = None
        self._pristine.restore_all()

    def _bake(self, worn: Worn) -> list[str]:
        touched, silent = set[str](), []
        for name, value in _each_sum(self._pristine, worn, self._device, with_pairs=True):
            touched.add(name)
            self._pristine.write(name, value)
            if torch.equal(value.cpu(), self._pristine.original(name)):
                silent.append(name)
        for name in set(self._pristine.kept) - touched:
            self._pristine.restore(name)
        return silent


def _sums(pristine: Pristine, worn: Worn, *, with_pairs: bool) -> dict[str, torch.Tensor]:
    return dict(_each_sum(pristine, worn, None, with_pairs=with_pairs))


def _each_sum(
    pristine: Pristine, worn: Worn, device: torch.device | None, *, with_pairs: bool
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield `path.weight` and `path.bias` with their sums: fp32 from the original, rounded once to its dtype."""
    names: dict[str, None] = {}
    for loaded, _ in worn:
        for path, changed in loaded.changes.items():
            keys = [*changed.differences, *(["weight"] if with_pairs and changed.pair else [])]
            names |= {f"{path}.{key}": None for key in keys}
    for name in names:
        path, _, key = name.rpartition(".")
        original = pristine.original(name)
        total = original.to(device or pristine.live(name).device, torch.float32, copy=True)
        for loaded, strength in worn:
            change = loaded.changes.get(path)
            if change is None:
                continue
            if key in change.differences:
                total.add_(change.differences[key].to(total.device, torch.float32), alpha=strength)
            if change.pair and with_pairs and key == "weight":
                down, up = (half.to(total.device, torch.float32) for half in (change.pair.down, change.pair.up))
                total.addmm_(up, down, alpha=strength * change.pair.scale)
        yield name, total.to(original.dtype)
