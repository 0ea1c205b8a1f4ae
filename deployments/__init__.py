"""The stages. There is no registry: a file's path is its name (`deployments/upscale/edsr.py` is `upscale.edsr`)."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path

from serve_app.core.errors import Misconfigured, Unknown

ROOMS = ("generate", "adapt", "judge", "gate", "upscale", "encode")
"""The packages whose modules are stages; `nets` holds networks and `metrics` what judges measure, not stages."""


def names() -> list[str]:
    """Return the name of every stage, sorted, without importing any."""
    here = Path(__file__).parent
    found = [f"{room}.{module.name}" for room in ROOMS for module in pkgutil.iter_modules([str(here / room)])]
    return sorted(found)


def locate(name: str) -> type:
    """Return the stage class called ``name``; raise Unknown with the nearest names, or Misconfigured for a broken file.

    Importing a stage imports neither torch nor cv2: those wait for `load`.
    """
    if name not in names():
        raise Unknown("use", name, names())
    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        thing
        for _, thing in inspect.getmembers(module, inspect.isclass)
        if thing.__module__ == module.__name__ and hasattr(thing, "Params") and hasattr(thing, "run")
    ]
    if len(classes) != 1:
        raise Misconfigured(name, f"a stage's file has exactly one class with Params and run, not {len(classes)}")
    return classes[0]
