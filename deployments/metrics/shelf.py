"""A directory of nulls that the replicas of a judge share: one small JSON file each, written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path

from deployments.metrics.null import MEASURES, Null

log = logging.getLogger("greenlight.judge")


class Shelf:
    """Nulls by key (hex digits) under ``root``, at most about ``most``: the oldest files go first.

    A file that is no null, such as a broken one, counts as missing and is written anew. Raises OSError when the disk
    does.
    """

    def __init__(self, root: Path, most: int = 4096) -> None:
        self._root, self._most = root, most

    def get(self, key: str) -> Null | None:
        """Return the null under ``key``, or None."""
        try:
            found = json.loads(self._path(key).read_bytes())
            expected = {name: float(found["expected"][name]) for name in MEASURES}
            return Null(expected, int(found["clips"]))
        except (OSError, ValueError, KeyError, TypeError):  # a null is made again; no clip is lost for want of a cache
            return None

    def put(self, key: str, null: Null) -> None:
        """Keep ``null`` under ``key``; where the disk is full or read-only, it is not kept, and the log says so."""
        text = json.dumps({"expected": dict(null.expected), "clips": null.clips}, allow_nan=False)
        try:
            self._write(key, text)
            self._thin_out()
        except OSError as error:
            log.warning("a null is not kept in %s: %s", self._root, error)

    def _write(self, key: str, text: str) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._root, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(self._path(key))
        finally:
            Path(name).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / f"{key}.json"

    def _thin_out(self) -> None:
        """Delete the oldest files beyond the limit, a quarter of it at once. Another replica may be doing the same."""
        files = list(self._root.glob("*.json"))
        if len(files) <= self._most:
            return
        aged = []
        for file in files:
            try:
                aged.append((file.stat().st_mtime, file))
            except FileNotFoundError:
                continue
        for _, file in sorted(aged)[: len(aged) - self._most + self._most // 4]:
            file.unlink(missing_ok=True)
