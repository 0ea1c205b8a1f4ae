"""One accelerator, many names: Ray's label, CUDA's device name, and the key of a price table."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ALIASES = {"A10G": "A10"}
"""Variants that are rented at one price: AWS's A10G is its A10."""
_SIZE = re.compile(r"(\d+)G(?:I?B)?")
_PART = "MIG"


def priced_as(name: str, known: Iterable[str]) -> str:
    """Return the one of ``known`` price-table keys that means the accelerator ``name``; else ``name`` itself.

    Ray's labels (`A100-40G`, https://docs.ray.io/en/latest/ray-core/accelerator-types.html) and CUDA's device names
    (`NVIDIA A100-SXM4-40GB`) both hold a key's words among others, so the key with the most words of the name is
    meant: `A100-40` is in both, `L4` is not in `NVIDIA L40S`. A name that does not say enough (`A100`, of which there
    are two) and a part of a device (`MIG 1g.10gb`) have no price here: one that is wrong is worse than none.
    """
    keys = list(known)
    if name in keys:
        return name
    words = _words(name)
    fitting = [key for key in keys if _words(key) <= words and (_PART in _words(key)) == (_PART in words)]
    most = max((len(_words(key)) for key in fitting), default=0)
    best = [key for key in fitting if len(_words(key)) == most]
    return best[0] if len(best) == 1 else name


def _words(name: str) -> frozenset[str]:
    """Return the words of a name in capitals, sizes as bare numbers: `A100-SXM4-40GB` is A100, SXM4 and 40."""
    words = re.split(r"[^A-Z0-9.]+", name.upper())
    plain = (size.group(1) if (size := _SIZE.fullmatch(word)) else word for word in words if word)
    return frozenset(_ALIASES.get(word, word) for word in plain)
