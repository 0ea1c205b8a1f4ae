"""The contract of a stage: a small class with `Weights`, `Params`, `load` and a typed `run`.

    class Edsr:                                                   # deployments/upscale/edsr.py -> use: upscale.edsr
        class Weights(Strict): ...                                # load time, from config; one deployment per value
        class Params(Strict): ...                                 # per node; the YAML `with:` block
        def load(self, weights: Weights, context: Context) -> None: ...
        def run(self, params: Params, *, clip: Clip) -> Clip: ... # ports are keywords, their types the wiring rules

A stage may say more about itself by class attributes, all optional:
    gates: str       the input port whose value `run` hands on unchanged or refuses with Rejected (only gates have it)
and by a method `plan(params) -> None` (a staticmethod) that raises InvalidInput for what the types cannot say, such as
a frame grid. It runs at plan time, before any weight is loaded. `requires(params) -> tuple[str, ...]` (a staticmethod)
names the optional ports that these params cannot do without, and `is_cpu_only = True` says that a share of a GPU would
only place the stage near others: its replica opens no context on the device. `fits(params, weights)` (a staticmethod)
raises Misconfigured, also at plan time, where params ask for what these weights cannot do. `wired(weights, ports)` (a
staticmethod) raises InvalidInput naming a port that weights need and a node leaves open, or the other way round, when a
pipeline is compiled. `unpriced(weights)` (a
staticmethod) names what a call would be charged for at a price that nobody has given, or returns None: a run with a
budget in USD is then refused before anything is spent.

`prepare(params, *, <some of run's ports>) -> None` may learn, ahead of time, what `run` will want of those ports. Where
they come from the request and the step still waits for another, the walk calls it as soon as the run starts. It runs in
a thread of its own beside a `run` of the same object, so it locks what both touch and speaks to nobody: it leaves
`Context.progress`, `check`, `note` and `warn` alone, for they belong to the call at hand. It must change nothing but
the time that `run` takes: no run fails by it, and none may rely on it.

A stage that is no gate may raise Rejected of its own attempt, such as a generator that sees part-way that it is
hopeless: the run policy then tries another seed. No gate can be opened for it, so it leaves nothing to keep.

What a stage may offer so that a clip passes through it in chunks is said in `serve_app.core.streaming`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from serve_app.core.adapter import Adapters, WantedAdapters
from serve_app.core.artifact import Artifact, ArtifactStore
from serve_app.core.conditioning import Conditioning
from serve_app.core.errors import Misconfigured
from serve_app.core.media import Clip, Image
from serve_app.core.score import Score
from serve_app.core.streaming import NO_WAYS, Ways, ways_of

BULKY: tuple[type, ...] = (Clip, Image, Conditioning)
"""Values that stay where they are and travel by reference: neither the runner nor the ingress ever opens them."""

PORT_TYPES: dict[str, type] = {
    "text": str,
    "integer": int,
    "number": float,
    "seed": int,
    "image": Image,
    "clip": Clip,
    "score": Score,
    "artifact": Artifact,
    "adapter": WantedAdapters,
    "adapters": Adapters,
    "conditioning": Conditioning,
}
"""What a pipeline file calls the types of its inputs and ports."""


class Strict(BaseModel):
    """Frozen, and an unknown key is an error: no parameter is ever ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=False, protected_namespaces=(), use_attribute_docstrings=True
    )


class Context(Protocol):
    """What the house offers a stage. One call runs at a time per stage object, so the context speaks of that call."""

    device: str
    """``cpu`` or ``cuda``."""
    threads: int
    """CPU threads this stage may use."""
    artifacts: ArtifactStore
    """Where encoded outputs go."""
    scratch: Path
    """A directory for temporary files, on the same disk as the artifacts."""

    def progress(self, done: int, of: int) -> None:
        """Say that ``done`` of ``of`` steps are finished, and raise Cancelled if the run was cancelled."""
        ...

    def check(self) -> None:
        """Raise Cancelled if the run was cancelled."""
        ...

    def note(self, name: str, value: Any) -> None:
        """Record a fact for the report, as a JSON value: a parameter in effect, a flag, the weights' digest."""
        ...

    def warn(self, message: str) -> None:
        """Record what the caller should know, such as a parameter that has no effect here."""
        ...

    def charge(self, usd: float | None, what: str) -> None:
        """Record that this call spent ``usd`` (0 or more) on ``what``, beside the time it takes: a service's own price.

        None when it costs something and nobody knows how much: the run's cost is then unknown, never too low.
        """
        ...


class Stage(Protocol):
    """The shape of every stage class; nothing inherits from it."""

    Weights: type[Strict]
    Params: type[Strict]

    def load(self, weights: Any, context: Context) -> None:
        """Load weights once, when the replica starts. Raises Misconfigured, OutOfMemory."""
        ...

    run: Any


@dataclass(frozen=True)
class Port:
    """One keyword argument of `run`: its type, and whether a node may leave it unconnected."""

    name: str
    type: type
    is_optional: bool


@dataclass(frozen=True)
class Contract:
    """What a stage declares, read from its class: ports in, the type out, and the port it gates (if any)."""

    name: str
    ports: Mapping[str, Port]
    output: type
    gates: str | None
    weights: type[Strict]
    params: type[Strict]
    is_cpu_only: bool = False
    prepares: tuple[str, ...] | None = None
    """The ports that `prepare` takes; None: there is no such method."""
    ways: Ways = NO_WAYS


def contract_of(name: str, stage: type) -> Contract:
    """Read the contract of ``stage``; raise Misconfigured naming what it lacks."""
    for part in ("Weights", "Params", "load", "run"):
        if not hasattr(stage, part):
            raise Misconfigured(name, f"the stage has no {part}")
    # A nested `Params` is known inside its class alone.
    hints = typing.get_type_hints(stage.run, localns=dict(vars(stage)))  # type: ignore[attr-defined]
    ports = {}
    for parameter in inspect.signature(stage.run).parameters.values():  # type: ignore[attr-defined]
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kind, is_optional = _unwrap(hints.get(parameter.name), f"{name}.run({parameter.name})")
            ports[parameter.name] = Port(parameter.name, kind, is_optional)
    output, _ = _unwrap(hints.get("return"), f"{name}.run's return")
    gates = getattr(stage, "gates", None)
    is_cpu_only = bool(getattr(stage, "is_cpu_only", False))
    prepares = _prepares(name, stage, ports)
    ways = ways_of(name, stage, {port.name: port.type for port in ports.values()}, output)
    return Contract(name, ports, output, gates, stage.Weights, stage.Params, is_cpu_only, prepares, ways)  # type: ignore[attr-defined]


def _prepares(name: str, stage: type, ports: Mapping[str, Port]) -> tuple[str, ...] | None:
    """Return the ports that the stage's `prepare` takes; raise Misconfigured for one that `run` has not."""
    prepare = getattr(stage, "prepare", None)
    if prepare is None:
        return None
    parameters = inspect.signature(prepare).parameters.values()
    wanted = tuple(parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY)
    strange = [port for port in wanted if port not in ports]
    if strange or not wanted:
        raise Misconfigured(f"{name}.prepare", f"takes {', '.join(strange) or 'no port'}; run's are {', '.join(ports)}")
    return wanted


def _unwrap(hint: Any, where: str) -> tuple[type, bool]:
    """Return the port type behind ``X`` or ``X | None``, and whether None was allowed."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    kinds = [option for option in options if option is not types.NoneType]
    if len(kinds) != 1 or kinds[0] not in PORT_TYPES.values():
        names = ", ".join(sorted({kind.__name__ for kind in PORT_TYPES.values()}))
        raise Misconfigured(where, f"{hint!r} is not a port type; they are {names}, each perhaps `| None`")
    return kinds[0], len(options) > 1
