"""LoRA adapters by name: found or fetched as configured, verified to the last number, handed on by digest."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from serve_app.core.adapter import (
    MOST_STRENGTH,
    Adapter,
    AdapterCard,
    Adapters,
    WantedAdapter,
    WantedAdapters,
    missing_triggers,
)
from serve_app.core.errors import BadAdapter, InvalidInput, Misconfigured
from serve_app.core.obtain import at_hand, obtain
from serve_app.core.source import AdapterEntry, Source, model_sources
from serve_app.core.stage import Context, Strict

if TYPE_CHECKING:
    from deployments.nets.lora.catalogue import Catalogue, Place
    from deployments.nets.lora.checks import Verified

AdapterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$")]

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
    names come first (`qwen-character-{id}`, `wan-character-{id}`). A configured adapter of the hub or of an address is
    fetched when it is first asked for, unless `greenlight pull` did. Notes ``adapters``, with what was matched.
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
        directories: tuple[str, ...] = Field((), description="Where adapters are; the first that has it wins.")
        adapters: dict[AdapterName, AdapterEntry] = Field(
            {}, description="Adapters of the hub, of addresses and of other paths, by the name that a request says."
        )
        distilled: bool = Field(False, description="The base is distilled: warn of adapters that distil once more.")

        def sources(self) -> tuple[Source, ...]:
            """Return the base's configuration and the configured adapters."""
            entries = tuple(entry.source for entry in self.adapters.values())
            return (*model_sources(self, is_config_only=True), *entries)

    class Params(Strict):
        """How files that do not fit in every way are taken."""

        strength: float = Field(1.0, ge=-MOST_STRENGTH, le=MOST_STRENGTH, description="Of a name that says none.")
        partial: bool = Field(False, description="Allow layers without a place in the base, and pairs of zeros.")
        expert: Literal["auto", "high", "low", "both"] = Field(
            "auto", description="Of two (Wan 2.2): which noise level; `auto` by the file's name, else both."
        )
        trigger: Literal["warn", "ignore"] = Field(
            "warn", description="Of trigger words that the prompt lacks; `adapt.trigger` can put them there."
        )

    @staticmethod
    def catalogue(weights: Weights) -> tuple[AdapterCard, ...]:
        """Return what a request may name, by configuration and headers alone."""
        return _catalogue(weights).cards()

    @staticmethod
    def admit(weights: Weights, wanted: WantedAdapters, field: str) -> None:
        """Raise Unknown naming ``field`` or BadAdapter for what needs no base to be told wrong."""
        _catalogue(weights).admit([item.name for item in wanted.items], field)

    def load(self, weights: Weights, context: Context) -> None:
        """Read the base's configuration. Raise Misconfigured naming the field of ``weights`` that is at fault."""
        from deployments.nets.lora.blueprint import blueprint
        from deployments.nets.lora.shelf import Shelf

        directories = [Path(directory) for directory in weights.directories]
        if not directories and not weights.adapters:
            raise Misconfigured("weights.directories", "there are neither directories nor adapters to take any from")
        self._shelf = Shelf(directories, context.artifacts, context.scratch)
        self._catalogue = _catalogue(weights)
        self._base = blueprint(weights.family, weights.model, weights.revision)
        self._weights, self._context = weights, context
        self._verified: dict[tuple[Any, ...], tuple[Adapter, dict[str, Any]]] = {}

    def run(self, params: Params, *, adapter: WantedAdapters | None = None, prompt: str | None = None) -> Adapters:
        """Return the adapters in the order of the request, verified. Raise Unknown for a name that is nowhere,
        BadAdapter (file, layer, reason) for a file that is broken or does not fit, Unavailable for one being written,
        NotFetched for one that cannot be had, InvalidInput for an ``expert`` that the base has not.
        """
        if params.expert != "auto" and len(self._experts()) < 2:
            raise InvalidInput("expert", f"this {self._base.family.title} has no two experts to choose from")
        found: list[Adapter] = []
        facts = []
        for wanted in adapter.items if adapter else ():
            self._context.check()
            one, notes = self._find(params, wanted)
            if any(one.digest == other.digest for other in found):
                raise InvalidInput("adapter", f"{wanted.name} is a file that is named already, under another name")
            found.append(one)
            facts.append({**notes, "name": one.name, "strength": one.strength})
            self._warn(one, notes, prompt if params.trigger == "warn" else None)
        self._context.note("adapters", facts)
        return Adapters(tuple(found))

    def _find(self, params: Params, wanted: WantedAdapter) -> tuple[Adapter, dict[str, Any]]:
        place = self._catalogue.find(wanted.name)
        path, was_fetched = self._obtain(place)
        digest = self._shelf.keep(path)
        if place.entry and place.entry.sha256 not in (None, digest):
            raise BadAdapter(path.name, None, f"its sha256 is {digest}, and {place.entry.sha256} is configured")
        parts = self._parts(params, path.stem, place.name)
        key = (digest, path.name, parts, params.partial)
        if key not in self._verified:
            self._verified[key] = self._verify(path.name, digest, parts, params.partial)
        one, notes = self._verified[key]
        strength = params.strength if wanted.strength is None else wanted.strength
        triggers = place.entry.triggers if place.entry and place.entry.triggers else one.triggers
        found = replace(one, name=place.name, strength=strength, triggers=triggers)
        return found, {**notes, "triggers": list(triggers), "was_fetched": was_fetched}

    def _obtain(self, place: Place) -> tuple[Path, bool]:
        """Return an adapter's file, and whether it had to be fetched."""
        if place.entry is None:
            assert place.file is not None
            return place.file, False
        is_here = at_hand(place.entry.source) is not None
        return obtain(place.entry.source, self._tell), not is_here

    def _tell(self, done: int, of: int | None) -> None:
        if of:
            self._context.progress(done, of)
        else:
            self._context.check()

    def _experts(self) -> list[str]:
        return [part for part in self._base.family.experts if part in self._base.parts]

    def _parts(self, params: Params, *names: str) -> tuple[str, ...]:
        """Return the experts that a file is for; none where the base has but one, or all are meant."""
        experts = self._experts()
        if len(experts) < 2 or params.expert == "both":
            return ()
        said = [level for level, pattern in _EXPERT.items() if any(pattern.search(name) for name in names)]
        levels = said if params.expert == "auto" else [params.expert]
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
        if missing := [] if prompt is None or strength == 0 else missing_triggers(adapter.triggers, prompt):
            warn(f"{name} was trained to answer to {missing[0]!r}, which the prompt does not say")
        if adapter.layout.startswith("peft of itself"):
            warn(f"{name} holds no alpha: PEFT writes it into a file beside it, and alpha is taken to be the rank")


def _catalogue(weights: Lora.Weights) -> Catalogue:
    from deployments.nets.lora.catalogue import Catalogue

    return Catalogue(weights.family, tuple(map(Path, weights.directories)), weights.adapters)


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
