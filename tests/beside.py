"""Other people's files that tests use where they are found, and that are not ours to ship."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NEIGHBOURHOOD = Path(__file__).parents[2]


def beside(name: str) -> Path:
    """Return a file in $GREENLIGHT_TEST_DATA, or in `data` of a neighbour of the checkout; else skip the test."""
    told = os.environ.get("GREENLIGHT_TEST_DATA")
    found = [Path(told) / name] if told else sorted(NEIGHBOURHOOD.glob(f"*/data/{name}"))
    there = [path for path in found if path.is_file()]
    if not there:
        pytest.skip(f"there is no {name} in $GREENLIGHT_TEST_DATA or beside the checkout")
    return there[0]
