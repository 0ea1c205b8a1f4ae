"""What a pair is multiplied with before any strength: alpha over rank, wherever the file says it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from deployments.nets.lora.header import Header
from serve_app.core.errors import BadAdapter

_KEY = "lora_adapter_metadata"
"""Where diffusers (since 0.34) writes PEFT's configuration: a file of it holds no alpha tensors."""


class Scales:
    """The scale of every pair of one file."""

    def __init__(self, header: Header) -> None:
        """Read what the file's metadata say. Raise BadAdapter where that is broken, or a kind of LoRA unlike ours."""
        self._file = header.file
        self._config = self._read(header.metadata.get(_KEY))

    def of(self, layer: str, path: str, rank: int, alpha: float | None) -> float:
        """Return alpha / rank for the file's ``layer``, at ``path`` in the model; 1 where nothing says otherwise.

        ``alpha`` is that of a tensor. Raises BadAdapter where it is not finite, or the metadata contradict it.
        """
        written = self._written(path, rank)
        given = None if alpha is None else alpha / rank
        if given is not None and not math.isfinite(given):
            raise BadAdapter(self._file, layer, f"its alpha is {alpha}")
        if given is not None and written is not None and given != written:
            raise BadAdapter(self._file, layer, f"a tensor gives the scale {given:g} and the metadata {written:g}")
        return next((scale for scale in (given, written) if scale is not None), 1.0)

    def _written(self, path: str, rank: int) -> float | None:
        part, _, rest = path.partition(".")
        alpha = self._config.get(f"{part}.lora_alpha", self._config.get("lora_alpha"))
        patterns = self._config.get(f"{part}.alpha_pattern", self._config.get("alpha_pattern")) or {}
        for pattern, value in patterns.items():
            if re.fullmatch(rf"(.*\.)?({re.escape(pattern)})", rest):
                alpha = value
        if alpha is None:
            return None
        is_root = self._config.get(f"{part}.use_rslora", self._config.get("use_rslora", False))
        return float(alpha / (math.sqrt(rank) if is_root else rank))

    def _read(self, text: str | None) -> Mapping[str, Any]:
        if text is None:
            return {}
        try:
            config = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadAdapter(self._file, None, f"its {_KEY} is not JSON") from error
        if not isinstance(config, dict):
            raise BadAdapter(self._file, None, f"its {_KEY} is not a JSON object")
        for key, value in config.items():
            name = key.rpartition(".")[2]
            if name == "use_dora" and value:
                raise BadAdapter(self._file, None, "this is DoRA, which is not plain LoRA and is not applied")
            if name == "lora_alpha" and not _is_number(value):
                raise BadAdapter(self._file, None, f"its {_KEY} has {key} = {value!r}")
            if name == "alpha_pattern" and not (isinstance(value, dict) and all(map(_is_number, value.values()))):
                raise BadAdapter(self._file, None, f"its {_KEY} has an {key} that is not a table of numbers")
        return config


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e30 < value < 1e30
