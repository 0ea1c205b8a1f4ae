"""Remembers what legitimate motion of a picture measures, for the pictures that were judged last."""

from __future__ import annotations

from collections import OrderedDict

from deployments.metrics.null import Null, null_of
from deployments.metrics.region import Box, region_for
from deployments.metrics.scale import Grey
from serve_app.core import digest

Key = tuple[str, tuple[int, ...], Box | None, int]


class Nulls:
    """The nulls of up to ``most`` pictures; the one that was asked for longest ago goes first. A few hundred bytes
    each.

    ``was_known``: whether the last one asked for had not to be made; None: none was asked for.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._known: OrderedDict[Key, Null] = OrderedDict()
        self.was_known: bool | None = None

    def of(self, grey: Grey, box: Box | None, clips: int) -> Null | None:
        """Return the null of a picture at working size, (H, W) uint8; None when ``clips`` is 0."""
        if clips == 0:
            return None
        key: Key = (digest.of_bytes(grey.tobytes()), grey.shape, box, clips)
        self.was_known = key in self._known
        if not self.was_known:
            self._known[key] = null_of(grey, region_for((grey.shape[0], grey.shape[1]), box), clips)
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return self._known[key]
