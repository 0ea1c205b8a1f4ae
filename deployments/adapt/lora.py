"""LoRA adapters by name: found in the operator's directories, verified to the last number, handed on by digest."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from serve_app.core.adapter import Adapter, Adapters, WantedAdapter, WantedAdapters
from serve_app.core.errors import InvalidInput
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.lora.checks import Verified

_DISTILLATION = re.compile(
    r"distil|lightning|lightx2v|causvid|accvid|turbo|hyper[-_]?sd|\blcm\b|dmd2?\b", re.IGNORECASE
)
_EXPERT = {
    level: re.compile(rf"(?<![a-z]){level}(?![a-z])|(?<![a-z]){level}[-_. ]?noise", re.IGNORECASE)
    for level in ("high", "low")
}
"""A level as a word of its own: a `flower` is not for the low-noise expert."""


class Lora:
    """Find and verify LoRA adapters for one base, on the CPU: what is handed on fits, or the run ends here.

    Ports: ``adapter``, names with strengths (`anime-v2@0.8`, several by commas; none: the base alone); ``prompt``, to
    warn of trigger words that it lacks. Returns the adapters by digest; their bytes are in the artifact store. A new or
    changed file is seen without a restart, and deleting one in use is safe. Of `character-{id}`, the family's own
    names come first (`qwen-character-{id}`, `wan-character-{id}`). Notes ``adapters``, with what was matched.
    """

    is_cpu_only = True

    class Weights(Strict):
        """The base that adapters must fit, and where they are."""

        family: Literal["ltx2", "flux", "qwen-image", "z-image", "wan", "ltx-video"] = Field(
            description="Of the base: names of layers and files follow from it."
        )
        model: str = Field(
            description="The base: a directory in diffusers' layout, or a hub id. Its configuration is read."
        )
        revision: str | None = Field(None, description="Of the hub id: a branch, tag or commit.")
        directories: tuple[str, ...] = Field(
            min_length=1, description="Where adapters are; the first that has it wins."
        )
        distilled: bool = Field(False, description="The base is distilled: warn of adapters that distil once more.")

    class Params(Strict):
        """How files that do not fit in every way are taken."""

        partial: bool = Field(False, description="Allow layers without a place in the base, and pairs of zeros.")
        expert: Literal["auto", "high", "low", "both"] = Field(
            "auto", description="Of two (Wan 2.2): which noise level; `auto` by the file's name, else both."
        )

    def load(self, weights: Weights, context: Context) -> None:
        """Read the base's configuration. Raise Misconfigured naming `weights.model` or `weights.directories`."""
        from deployments.nets.lora.blueprint import blueprint
        from deployments.nets.lora.shelf import Shelf

        directories = [Path(directory) for directory in weights.directories]
        self._shelf = Shelf(directories, context.artifacts, context.scratch)
        self._base = blueprint(weights.family, weights.model, weights.revision)
        self._weights, self._context = weights, context
        self._verified: dict[tuple[Any, ...], tuple[Adapter, dict[str, Any]]] = {}

    def run(self, params: Params, *, adapter: WantedAdapters | None = None, prompt: str | None = None) -> Adapters:
        """Return the adapters in the order of the request, verified. Raise Unknown for a name that is nowhere,
        BadAdapter (file, layer, reason) for a file that is broken or does not fit, Unavailable for one being written.
        """
        found: list[Adapter] = []
        facts = []
        for wanted in adapter.items if adapter else ():
            self._context.check()
            one, notes = self._find(params, wanted)
            if any(one.digest == other.digest for other in found):
                raise InvalidInput("adapter", f"{wanted.name} is a file that is named already, under another name")
            found.append(one)
            facts.append({**notes, "name": one.name, "strength": one.strength})
            self._warn(one, notes, prompt)
        self._context.note("adapters", facts)
        return Adapters(tuple(found))

    def _find(self, params: Params, wanted: WantedAdapter) -> tuple[Adapter, dict[str, Any]]:
        path = self._shelf.find(wanted.name, self._base.family.prefixes)
        digest = self._shelf.keep(path)
        parts = self._parts(params, path.stem)
        key = (digest, path.name, parts, params.partial)
        if key not in self._verified:
            self._verified[key] = self._verify(path.name, digest, parts, params.partial)
        one, notes = self._verified[key]
        return replace(one, strength=wanted.strength), notes

    def _parts(self, params: Params, stem: str) -> tuple[str, ...]:
        """Return the experts that a file is for; none where the base has but one, or all are meant."""
        experts = [part for part in self._base.family.experts if part in self._base.parts]
        if len(experts) < 2 or params.expert == "both":
            return ()
        levels = [params.expert] if params.expert != "auto" else [k for k, v in _EXPERT.items() if v.search(stem)]
        return (experts[("high", "low").index(levels[0])],) if len(levels) == 1 else ()

    def _verify(
        self, name: str, digest: str, parts: tuple[str, ...], is_partial: bool
    ) -> tuple[Adapter, dict[str, Any]]:
        from deployments.nets.lora.checks import verify

        path = self._context.artifacts.path_of(digest)
        found = verify(path, name, self._base, parts, is_partial=is_partial)
        adapter = Adapter(
            name=name.removesuffix(".safetensors"),
            digest=digest,
            strength=1.0,
            base=self._base.name,
            layout=found.match.layout,
            dtype=found.match.dtype,
            ranks=found.match.ranks,
            pairs=found.working,
            layers=found.layers,
            size_bytes=found.header.size_bytes,
            parts=parts,
            triggers=found.triggers,
            is_partial=is_partial,
        )
        return adapter, _facts(adapter, found)

    def _warn(self, adapter: Adapter, notes: dict[str, Any], prompt: str | None) -> None:
        warn, name, strength = self._context.warn, adapter.name, adapter.strength
        if strength == 0:
            warn(f"{name} has no effect at strength 0")
        elif not 0 < strength <= 2:
            warn(f"{name} at strength {strength:g} is beyond 0 to 2, where adapters are usually of use")
        if self._weights.distilled and _DISTILLATION.search(name):
            warn(f"{name} looks like a distillation, and this base is distilled already")
        if notes["unmatched"]:
            warn(f"{name}: {notes['matched']} pairs are applied; {notes['unmatched'][0]} has no place or no effect")
        missing = [word for word in adapter.triggers if prompt is not None and word.casefold() not in prompt.casefold()]
        if missing:
            warn(f"{name} was trained to answer to {missing[0]!r}, which the prompt does not say")
        if adapter.layout.startswith("peft of itself"):
            warn(f"{name} holds no alpha: PEFT writes it into a file beside it, and alpha is taken to be the rank")


def _facts(adapter: Adapter, found: Verified) -> dict[str, Any]:
    low, high = adapter.ranks
    unmatched = [*found.match.strangers, *found.idle]
    return {
        "file": found.header.file,
        "matched": f"{found.working}/{found.match.pairs + len(found.match.strangers)}",
        "layers": found.layers,
        "rank": f"{low}" if low == high else f"{low} to {high}",
        "dtype": adapter.dtype,
        "layout": adapter.layout,
        "sha256": adapter.digest,
        "size_bytes": adapter.size_bytes,
        "parts": list(adapter.parts),
        "triggers": list(adapter.triggers),
        "unmatched": unmatched[:20],
    }
