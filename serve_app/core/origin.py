"""What made a picture or a clip: a small mapping of JSON values that rides with it and is written into its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Origin = Mapping[str, Any]
"""``stage``, ``model``, ``params`` in effect, what came in by the stage's ports under their names (``prompt``,
``seed``, ``adapters``, where a picture came from), and ``then``: the stages that worked on it afterwards."""

SOFTWARE = "Greenlight"


def as_text(origin: Origin) -> str:
    """Return ``origin`` as JSON in ASCII, its keys sorted, always the same bytes. Raises ValueError for NaN."""
    return json.dumps(origin, sort_keys=True, allow_nan=False)


def signed(origin: Origin) -> str:
    """Return ``origin`` as text that says whose it is, for files that have one comment and no more."""
    return as_text({**origin, "software": SOFTWARE})


def origin_in(text: str, is_ours: bool = False) -> Origin | None:
    """Undo `as_text` or `signed`; None for a text of somebody else. ``is_ours``: the file itself says that it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not (is_ours or found.get("software") == SOFTWARE):
        return None
    return {key: value for key, value in found.items() if key != "software"}
