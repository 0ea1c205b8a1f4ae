"""What a host is asked to do for a step: all of it at once, or one piece of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from serve_app.core.media import Clip
from serve_app.core.stage import Contract, Strict
from serve_app.core.streaming import Chunk, cut, joined
from serve_app.graph.record import describe_value

Emit = Callable[[int, int, Clip], None]
"""Is told (which chunk, frames in all, the chunk), and returns when the next one may be made."""
Layout = tuple[tuple[str, int | None], ...]
"""Ports in order, each with the number of values that are its pieces; None: one value that is no piece."""


@dataclass(frozen=True)
class Pieces:
    """Values that stand side by side in one port: a clip's chunks in order, or the parts that a stage made of them."""

    items: tuple[Any, ...]


@dataclass(frozen=True)
class Errand:
    """``run`` it all; ``stream`` its clip out in chunks of ``chunk_frames``; make a ``part``; ``gather`` the parts.

    A part is of the chunk that begins with frame ``first`` of ``of``; its port holds the chunk, after the chunk before
    it where the stage wants that one's last frame. ``is_piece``: the call is not all of its step.
    """

    kind: Literal["run", "stream", "part", "gather"] = "run"
    chunk_frames: int = 0
    first: int = 0
    of: int = 0
    is_piece: bool = False

    @property
    def is_stream(self) -> bool:
        """Whether a clip is to come in chunks."""
        return self.kind == "stream"


RUN = Errand()


@dataclass(frozen=True)
class Ticket:
    """A call as it crosses to another process, less its values: whose stage, for which node, with which params.

    ``params`` are only those that were given, as JSON values; ``layout`` says which ports the values belong to.
    """

    deployment: str
    node: str
    params: dict[str, Any]
    errand: Errand
    layout: Layout


def spread(values: Mapping[str, Any]) -> tuple[Layout, list[Any]]:
    """Return ``values`` as one row, pieces one by one, and how to find them in it: a reference may not be nested."""
    layout = tuple((port, len(value.items) if isinstance(value, Pieces) else None) for port, value in values.items())
    row: list[Any] = []
    for value in values.values():
        row += value.items if isinstance(value, Pieces) else [value]
    return layout, row


def unspread(layout: Layout, row: Sequence[Any]) -> dict[str, Any]:
    """Undo ``spread``."""
    values: dict[str, Any] = {}
    at = 0
    for port, count in layout:
        values[port] = row[at] if count is None else Pieces(tuple(row[at : at + count]))
        at += 1 if count is None else count
    return values


@dataclass(frozen=True)
class Work:
    """A loaded stage with one errand's params and ports, ready to go."""

    stage: Any
    contract: Contract
    params: Strict
    given: Mapping[str, Any]
    """Port values as they came, uploads opened."""
    stamp: Callable[[Any], Any]
    """Writes down in a picture or a clip what made it."""

    def done(self, errand: Errand, emit: Emit) -> tuple[Any, dict[str, Any]]:
        """Carry out ``errand``; return its value, and that value described for the record.

        A gate's own value, handed on, is returned as it came. Of a stream nothing is returned: ``emit`` has had it.
        """
        if errand.kind == "stream":
            return None, self._stream(errand, emit)
        if errand.kind == "part":
            return self._part(errand), {}
        if errand.kind == "gather":
            ports = {port: list(value.items) if isinstance(value, Pieces) else value for port, value in self._ports()}
            return self._checked(self.stage.gather(self.params, **ports))
        return self._run()

    def _ports(self) -> list[tuple[str, Any]]:
        return list(self.given.items())

    def _joined(self) -> dict[str, Any]:
        return {port: joined(value.items) if isinstance(value, Pieces) else value for port, value in self._ports()}

    def _run(self) -> tuple[Any, dict[str, Any]]:
        ports = self._joined()
        value, description = self._checked(self.stage.run(self.params, **ports))
        gated = self.contract.gates
        if gated is not None and value is ports[gated]:
            value = self.given[gated]
        return value, description

    def _checked(self, value: Any) -> tuple[Any, dict[str, Any]]:
        wanted = self.contract.output
        if not isinstance(value, wanted):
            raise TypeError(f"promised {wanted.__name__}, returned {type(value).__name__}")
        return self.stamp(value), describe_value(value)

    def _part(self, errand: Errand) -> Any:
        ports = dict(self.given)
        port = self.contract.ways.clip_port or ""
        *before, clip = ports[port].items
        last = before[0].frames[-1] if before else None
        ports[port] = Chunk(clip, errand.first, errand.of, last)
        return self.stage.part(self.params, **ports)

    def _stream(self, errand: Errand, emit: Emit) -> dict[str, Any]:
        """Hand out the clip in chunks; one of a stage that cannot stream is cut when it is whole."""
        ports = self._joined()
        if self.contract.ways.streams:
            made, frames = self.stage.stream(self.params, **ports), self.stage.length(self.params)
            pieces: Iterator[Clip] = map(self.stamp, made)
        else:
            whole, _ = self._checked(self.stage.run(self.params, **ports))
            made, pieces, frames = None, iter([whole]), whole.shape.frames
        facts: dict[str, Any] = {}
        has_audio = False
        try:
            for index, chunk in enumerate(cut(pieces, errand.chunk_frames, frames)):
                facts = facts or describe_value(chunk)
                has_audio = has_audio or chunk.audio is not None
                emit(index, frames, chunk)
        finally:  # at once: one that was broken off still holds its stage's device, and the error's trace holds it
            if isinstance(made, Generator):
                made.close()
        return {**facts, "frames": frames, "has_audio": has_audio}
