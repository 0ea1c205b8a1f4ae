"""The layers of a base without its weights: from its configuration alone, so that a CPU replica can check adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from deployments.nets.lora.families import FAMILIES, FamilyName
from deployments.nets.lora.places import Base
from serve_app.core.errors import Misconfigured


def blueprint(family: FamilyName, model: str, revision: str | None = None) -> Base:
    """Return the base in ``model``, a directory in diffusers' layout (read offline) or a hub id, without storage.

    Raises Misconfigured naming `weights.model` for one that is not there, or has no transformer of the family.
    """
    where = {"revision": revision, "local_files_only": Path(model).is_dir()}
    try:
        index: dict[str, Any] = DiffusionPipeline.load_config(model, **where)
        parts = {
            part: _empty(model, part, index[part], where)
            for part in FAMILIES[family].parts
            if index.get(part, [None, None])[1]
        }
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise Misconfigured("weights.model", f"{model} is not a {FAMILIES[family].title}: {error}") from error
    if "transformer" not in parts:
        raise Misconfigured("weights.model", f"{model} has no transformer, which a {FAMILIES[family].title} has")
    return Base(family, parts)


def _empty(model: str, part: str, entry: list[str], where: dict[str, Any]) -> torch.nn.Module:
    library, name = entry
    home = diffusers if library == "diffusers" else getattr(diffusers.pipelines, library, None)
    kind = getattr(home, name, None)
    if kind is None:
        raise Misconfigured("weights.model", f"{part} is a {library}.{name}, which diffusers has not")
    config = kind.load_config(model, subfolder=part, **where)
    with torch.device("meta"):
        module: torch.nn.Module = kind.from_config(config)
    return module
