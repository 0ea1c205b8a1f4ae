"""Models over HTTP: what is deployed, what it takes, how it is held, and whether it is there yet."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from serve_app.core.errors import Unknown
from serve_app.http.desk import Desk
from serve_app.http.wire import Said


class ParamView(Said):
    """A param of a stage: its JSON schema, and what it becomes in the model's own pipeline."""

    default: Any = Field(description="null: what `description` says of a param that is left out.")
    description: str | None = None
    goes_to: str | None = Field(default=None, description="The argument that it becomes, and what is refused.")


class StateView(Said):
    """What Serve says of a deployment's replicas."""

    word: Literal["loaded", "starting", "idle", "failed", "unknown"] = Field(
        description="`idle`: scaled down to none, the next run starts one. `unknown`: this server is not on Serve."
    )
    replicas: int | None = Field(description="Those that have loaded the model.")
    reason: str | None = Field(default=None, description="Serve's own words, of one that failed.")


class MemoryView(Said):
    """Memory of one of the replicas, as it says itself."""

    weights_bytes: int = Field(description="All parameters and buffers, wherever they are.")
    dtypes: dict[str, int] = Field(description="Of those, the bytes in each dtype.")
    device: str
    process_bytes: int | None = Field(default=None, description="Resident, of the whole process.")
    gpu_allocated_bytes: int | None = Field(default=None, description="By torch, now; null without a GPU.")
    gpu_peak_bytes: int | None = Field(default=None, description="By torch, at most since the replica started.")
    gpu_limit_bytes: int | None = Field(default=None, description="The replica's share of its GPU.")


class ModelView(Said):
    """A deployed model: OpenAI's four fields, and ours."""

    id: str = Field(description="The deployment's name.")
    object: Literal["model"] = "model"
    created: int = Field(description="When it was deployed, in s since 1970; 0 where that is not known.")
    owned_by: str = Field(description="The owner on the hub, `local` for a directory, `greenlight` without weights.")
    family: str = Field(description="The stage.")
    model: str | None = Field(description="A directory, a hub id, or what a remote server calls it.")
    revision: str | None = None
    version: str | None = None
    variant: str | None = None
    pipelines: list[str] = Field(description="Those that use it.")
    params: dict[str, ParamView] = Field(description="Defaults and limits of what a pipeline's `with:` may set.")
    weights: dict[str, Any] = Field(description="How it is held: dtype, offload, tiling, ..., defaults included.")
    state: StateView
    memory: MemoryView | None = Field(description="null where no replica answered in time.")


class ModelList(BaseModel):
    """Every deployed model, in the envelope that OpenAI's clients read."""

    object: Literal["list"] = "list"
    data: list[ModelView]


async def index(service: Desk) -> ModelList:
    """Return every deployed model."""
    return ModelList(data=[ModelView.model_validate(card) for card in await service.models()])


async def show(service: Desk, name: str) -> ModelView:
    """Return one deployed model."""
    cards = {str(card["id"]): card for card in await service.models()}
    if name not in cards:
        raise Unknown("model", name, sorted(cards))
    return ModelView.model_validate(cards[name])
