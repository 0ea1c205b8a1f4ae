"""Remembers what legitimate motion of a picture measures, for the pictures that were judged last."""

from __future__ import annotations

import time
from collections import OrderedDict
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal

import cv2

from deployments.metrics.null import RECIPE, Null, null_of
from deployments.metrics.region import Box, region_for
from deployments.metrics.scale import Grey
from deployments.metrics.shelf import Shelf
from serve_app.core import digest

Source = Literal["known", "awaited", "made"]


@dataclass(frozen=True)
class Found:
    """A null, where it came from (``awaited``: somebody else was just making it), and the seconds until it was
    there."""

    null: Null
    source: Source
    seconds: float


class Nulls:
    """The nulls of up to ``most`` pictures; the one that was asked for longest ago goes first. A few hundred bytes
    each.

    Any number of threads may ask: each null is made once, and who asks for it meanwhile waits. What is made is also put
    into the directory ``shared``, if there is one, where other replicas find it, and this one after a restart.
    """

    def __init__(self, most: int = 64, shared: Path | None = None) -> None:
        self._most = most
        self._known: OrderedDict[str, Future[Null]] = OrderedDict()
        self._lock = Lock()
        self._shelf = None if shared is None else Shelf(shared)

    def of(self, grey: Grey, box: Box | None, clips: int) -> Found | None:
        """Return the null of a picture at working size, (H, W) uint8; None when ``clips`` is 0."""
        if clips == 0:
            return None
        source: Source
        began = time.perf_counter()
        key = _key(grey, box, clips)
        with self._lock:
            future = self._known.get(key)
            is_mine = future is None
            if future is None:
                future = self._known[key] = Future()
            self._known.move_to_end(key)
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        if is_mine:
            null, source = self._get(future, key, grey, box, clips)
            return Found(null, source, time.perf_counter() - began)
        source = "known" if future.done() else "awaited"
        try:
            return Found(future.result(), source, time.perf_counter() - began)
        except CancelledError:  # whoever was making it failed: now it is this one's turn
            return self.of(grey, box, clips)

    def _get(self, future: Future[Null], key: str, grey: Grey, box: Box | None, clips: int) -> tuple[Null, Source]:
        """Fetch or make a null for everybody who waits; if that fails, the next who asks tries again."""
        source: Source = "known"
        try:
            null = None if self._shelf is None else self._shelf.get(key)
            if null is None:
                source, null = "made", null_of(grey, region_for((grey.shape[0], grey.shape[1]), box), clips)
            future.set_result(null)
            if source == "made" and self._shelf is not None:
                self._shelf.put(key, null)
        finally:
            if not future.done():
                with self._lock:
                    self._known.pop(key, None)
                future.cancel()
        return null, source


def _key(grey: Grey, box: Box | None, clips: int) -> str:
    """Return what a null depends on, as a digest: the picture, where to look, how it is made and by which OpenCV."""
    made = {"recipe": RECIPE, "opencv": cv2.__version__, "shape": list(grey.shape), "box": box, "clips": clips}
    return digest.of_json({**made, "grey": digest.of_bytes(grey.tobytes())})
