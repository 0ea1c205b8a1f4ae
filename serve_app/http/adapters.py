"""Adapters over HTTP: what there is to ask for, and what a run has used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from serve_app.http.desk import Desk
from serve_app.http.wire import Said

USED = "X-LoRA-Used"


class AdapterView(Said):
    """One adapter, by its configuration and its file's header; its base was not asked."""

    name: str = Field(description="What a request says, perhaps with a strength: `anime-v2@0.8`.")
    deployment: str = Field(description="Where it is looked up.")
    base: str = Field(description="The family of that deployment's base.")
    state: Literal["present", "not downloaded", "unreadable"]
    source: Literal["directory", "hub", "address", "path"]
    file: str
    layout: str | None = Field(description="How its tensors are named: peft, comfy, kohya, ...")
    dtype: str | None
    ranks: tuple[int, int] | None = Field(description="The least and the greatest; [0, 0]: plain differences alone.")
    pairs: int | None
    size_bytes: int | None
    sha256: str | None
    triggers: list[str] = Field(description="Words that it answers to.")
    looks_made_for: str | None = Field(description="The family that its layers' names occur in, where they tell.")
    error: str | None = Field(description="Of one that is unreadable: file, layer, reason.")


class AdapterList(BaseModel):
    """Every adapter that a request may name."""

    object: Literal["list"] = "list"
    adapters: list[AdapterView]


async def index(service: Desk) -> AdapterList:
    """Return every adapter that a request may name, the unreadable ones and those to be downloaded too."""
    return AdapterList(adapters=[AdapterView.model_validate(entry) for entry in await service.adapters()])


def used_in(attempt: Mapping[str, Any]) -> str | None:
    """Return the adapters of an attempt as its last step that has some noted them: `anime-v2@0.8, film@1`."""
    noted = [step.get("notes", {}).get("adapters") for step in attempt.get("steps") or []]
    last = next((each for each in reversed(noted) if each), None)
    if not isinstance(last, list):
        return None
    return ", ".join(f"{item['name']}@{item['strength']:g}" for item in last)
