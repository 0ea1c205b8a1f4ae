"""How a model's weights are held: what the `Weights` of every family of diffusers say alike, checked without torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serve_app.core.stage import Strict

Shape = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}(x[1-9]\d{0,3})?$")]
"""`1280x720x97`: width and height in px, then frames; a picture has none."""


class Model(Strict):
    """Which weights."""

    model: str = Field(description="A directory in diffusers' layout (read offline), or a hub id.")
    revision: str | None = Field(None, description="Of the hub id: a branch, tag or commit.")
    dtype: Literal["auto", "bf16", "fp32"] = Field("auto", description="`auto`: bf16 on a GPU, fp32 on a CPU.")


class Options(Strict):
    """What trades memory, speed and exactness; docs/memory.md says what each saves and costs."""

    storage: Literal["none", "fp8"] = Field(
        "none", description="`fp8`: the transformer's weights are kept as float8_e4m3fn and widened layer by layer."
    )
    offload: Literal["none", "model", "group"] = Field(
        "none", description="`model`: each part is on the GPU as it works. `group`: so is each group of blocks."
    )
    group_blocks: int = Field(1, ge=1, le=64, description="Blocks that are moved together, with `offload: group`.")
    group_stream: bool = Field(False, description="Move the next block on a CUDA stream of its own, as this one works.")
    vae_tiling: bool = Field(False, description="Decode in spatial tiles: less memory, faint seams.")
    compile: Literal["none", "blocks"] = Field(
        "none", description="`blocks`: torch.compile for the transformer's repeated blocks, at load."
    )
    warm_up: tuple[Shape, ...] = Field(
        (), description="Sizes rendered at load, so that no request waits for the compiler; none: the default size."
    )
    attention: str = Field(
        "auto",
        pattern=r"^[a-z0-9_]+$",
        description="A backend of diffusers, such as `native` or `flash`; `auto` leaves it to diffusers.",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Raise ValueError for an option that would have no effect, or the wrong one."""
        if self.offload != "group" and (self.group_blocks != 1 or self.group_stream):
            raise ValueError("group_blocks and group_stream have an effect only with offload: group")
        if self.group_stream and self.group_blocks != 1:
            raise ValueError("group_blocks: with group_stream blocks are moved one by one")
        if self.compile == "none" and self.warm_up:
            raise ValueError("warm_up has an effect only with compile: blocks")
        if self.compile == "blocks" and (self.storage != "none" or self.offload == "group"):
            raise ValueError("compile: blocks whose weights change place or type as they work cannot be compiled whole")
        self._agree_with_adapters(getattr(self, "adapters", None))
        return self

    def _agree_with_adapters(self, way: str | None) -> None:
        """Raise ValueError where adapters, applied this ``way``, would do nothing or be lost. None: there are none."""
        if way in ("auto", "unfused") and self.compile == "blocks":
            # torch._dynamo does not look whether a hook was added after it compiled.
            raise ValueError(f"adapters: {way} would not be seen by compiled blocks; use adapters: baked")
        if way == "baked" and self.storage == "fp8":
            raise ValueError("adapters: baked into weights stored as fp8 would be rounded away; use adapters: unfused")
        if way in ("auto", "baked") and self.group_stream:
            raise ValueError(f"adapters: {way} is not proven with group_stream; use adapters: unfused")

    @property
    def facts(self) -> dict[str, Any]:
        """What is in effect, as JSON values: of the details, those that matter."""
        details = {"group": ("group_blocks", "group_stream"), "blocks": ("warm_up",)}
        kept = ["storage", "offload", "vae_tiling", "compile", "attention"]
        kept += [name for chosen in (self.offload, self.compile) for name in details.get(chosen, ())]
        return {name: value for name, value in self.model_dump(mode="json").items() if name in kept}


class Held(Options, Model):
    """Which weights, and how they are held."""
