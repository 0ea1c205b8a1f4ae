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
from deployments.nets.lora.normal import Change, Pair
from deployments.nets.lora.weights import Pristine

Worn = Sequence[tuple[Loaded, float]]
"""Adapters with their strengths, none of them 0, in the order of the request."""
Mark = tuple[int, str]
"""An adapter's place in the request, and the path of a layer that it changes."""


@dataclass
class Extra:
    """What is added to one layer's output, and how often it was."""

    terms: list[tuple[Pair, float]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    """Of each term: the place of its adapter in the request."""
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
        self._loud: set[Mark] = set()
        self.extras: dict[str, Extra] = {}
        """The layers that get terms, by path."""
        for owner, (loaded, strength) in enumerate(worn):
            for path, change in loaded.changes.items():
                if change.pair:
                    self._layers[path] = loaded.layers[path]
                    extra = self.extras.setdefault(path, Extra())
                    extra.terms.append((change.pair, strength * change.pair.scale))
                    extra.owners.append(owner)

    @property
    def passes(self) -> int:
        """How often the model ran with the terms: as often as the layer that ran most."""
        return max((extra.calls for extra in self.extras.values()), default=0)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply inside ``with``. Differences of whole weights, which no term can be, are written and restored."""
        pristine, undo = Pristine(self._modules), list[Callable[[], None]]()
        try:
            for made in _sums(pristine, self._worn, None, with_pairs=False):
                pristine.write(made.name, made.value)
                self._loud |= made.loud
            for path, extra in self.extras.items():
                undo.append(extra.install(self._layers[path]))
            yield
        finally:
            for take_out in undo:
                take_out()
            pristine.restore_all()

    def silent(self, device: torch.device) -> list[Mark]:
        """Return whose changes of which layer make no difference: a probe of random inputs, in the layer's own dtype.

        Each adapter is looked at by itself. Call it inside `applied`, which looks at whole differences.
        """
        asked: list[Mark] = []
        differs: list[torch.Tensor] = []
        generator = torch.Generator("cpu").manual_seed(0)
        with torch.no_grad():
            for path, extra in self.extras.items():
                down = extra.terms[0][0].down
                weight = self._layers[path].weight
                assert isinstance(weight, torch.Tensor)
                x = torch.randn(4, down.shape[1], generator=generator).to(device, down.dtype)
                plain = functional.linear(x, weight.to(device, down.dtype))
                for owner, (pair, factor) in zip(extra.owners, extra.terms, strict=True):
                    asked.append((owner, path))
                    differs.append(
                        (plain.addmm(functional.linear(x, pair.down), pair.up.T, alpha=factor) != plain).any()
                    )
            flags = torch.stack(differs).tolist() if differs else []
        return _all_but(self._worn, self._loud | {mark for mark, is_loud in zip(asked, flags, strict=True) if is_loud})


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

    @property
    def is_pristine(self) -> bool:
        """Whether the weights are the base's."""
        return not self._pristine.kept

    def hold(self, key: Any, worn: Worn) -> list[Mark]:
        """Make the weights those of ``worn``, whose identity is ``key``; return whose changes make no difference.

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

    def _bake(self, worn: Worn) -> list[Mark]:
        touched, loud = set[str](), set[Mark]()
        for made in _sums(self._pristine, worn, self._device, with_pairs=True):
            touched.add(made.name)
            self._pristine.write(made.name, made.value)
            loud |= made.loud
        for name in set(self._pristine.kept) - touched:
            self._pristine.restore(name)
        return _all_but(worn, loud)


def _all_but(worn: Worn, loud: set[Mark]) -> list[Mark]:
    every = [(owner, path) for owner, (loaded, _) in enumerate(worn) for path in loaded.changes]
    return [mark for mark in every if mark not in loud]


@dataclass(frozen=True)
class _Sum:
    """One weight with everything that is added to it, and whose part of that its dtype can tell."""

    name: str
    value: torch.Tensor
    loud: set[Mark]


def _sums(pristine: Pristine, worn: Worn, device: torch.device | None, *, with_pairs: bool) -> Iterator[_Sum]:
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
        before, loud = original.to(total.device), set[Mark]()
        for owner, (loaded, strength) in enumerate(worn):
            change = loaded.changes.get(path)
            if change is not None and _add(total, change, key, strength, with_pairs=with_pairs):
                after = total.to(original.dtype, copy=True)
                loud |= set() if torch.equal(before, after) else {(owner, path)}
                before = after
        yield _Sum(name, before, loud)


def _add(total: torch.Tensor, change: Change, key: str, strength: float, *, with_pairs: bool) -> bool:
    """Add one adapter's part to a weight in fp32; return whether it has one."""
    has_difference, has_pair = key in change.differences, bool(change.pair) and with_pairs and key == "weight"
    if has_difference:
        total.add_(change.differences[key].to(total.device, torch.float32), alpha=strength)
    if change.pair and has_pair:
        down, up = (half.to(total.device, torch.float32) for half in (change.pair.down, change.pair.up))
        total.addmm_(up, down, alpha=strength * change.pair.scale)
    return has_difference or has_pair
