"""Changing weights in place, and getting them back to the last bit: by copies, never by subtracting."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from deployments.nets.lora.loaded import layer_at
from serve_app.core.errors import Misconfigured

_FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def narrow_dtype(modules: Mapping[str, torch.nn.Module]) -> str | None:
    """Return the dtype of a weight that cannot be changed in place, such as FP8; None where there is no such weight."""
    dtypes = (parameter.dtype for module in modules.values() for parameter in module.parameters())
    found = next((dtype for dtype in dtypes if dtype not in _FLOATS), None)
    return None if found is None else str(found).removeprefix("torch.")


class Pristine:
    """Copies of weights that were changed, by `path.name`, on the CPU."""

    def __init__(self, modules: Mapping[str, torch.nn.Module]) -> None:
        self._modules, self._kept = modules, dict[str, torch.Tensor]()

    @property
    def size_bytes(self) -> int:
        """What the copies take."""
        return sum(tensor.nbytes for tensor in self._kept.values())

    @property
    def kept(self) -> tuple[str, ...]:
        """What may have been changed, as `path.name`."""
        return tuple(self._kept)

    def original(self, name: str) -> torch.Tensor:
        """Return the weight ``name`` as it was before any change, and keep it from now on."""
        if name not in self._kept:
            self._kept[name] = self.live(name).detach().to("cpu", copy=True)
        return self._kept[name]

    def live(self, name: str) -> torch.nn.Parameter:
        """Return the weight itself. Raise Misconfigured for one stored in FP8 or packed, which cannot be changed."""
        path, _, key = name.rpartition(".")
        parameter = getattr(layer_at(self._modules, path), key)
        if not isinstance(parameter, torch.nn.Parameter) or parameter.dtype not in _FLOATS:
            raise Misconfigured(name, f"it is stored as {parameter.dtype}, which adapters cannot be baked into")
        return parameter

    def write(self, name: str, value: torch.Tensor) -> None:
        """Make ``value`` the weight, after its original was kept."""
        self.original(name)
        with torch.no_grad():
            self.live(name).copy_(value)

    def restore(self, name: str) -> None:
        """Bring one weight back and forget the copy."""
        if name in self._kept:
            with torch.no_grad():
                self.live(name).copy_(self._kept[name])
            del self._kept[name]

    def restore_all(self) -> None:
        """Bring every weight back."""
        for name in self.kept:
            self.restore(name)
