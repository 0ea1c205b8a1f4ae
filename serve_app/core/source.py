"""Where a stage's files come from: what its weights name, before anything is loaded, so that it can be fetched first.

A stage whose `Weights` have ``model`` and ``revision`` needs no more: those are a diffusers directory or a hub id. One
that needs other files gives its `Weights` a method ``sources(self) -> tuple[Source, ...]``, which may begin with
``model_sources(self)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, model_validator

from serve_app.core.stage import Strict
from serve_app.core.web import shown

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""`owner/name`."""

_HUB_FILE = re.compile(r"([\w-][\w. -]*/)*[\w-][\w. -]*\.safetensors")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Trigger = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
RepoFile = Annotated[str, StringConstraints(pattern=r"^([\w-][\w. -]*/)*[\w-][\w. -]*$")]


@dataclass(frozen=True)
class HubModel:
    """A model in a hub repository: its weights in safetensors, its configuration and its tokenizers."""

    repo: str
    revision: str | None = None
    is_config_only: bool = False
    """Whether the configuration alone is needed, and no weights."""

    @property
    def title(self) -> str:
        """What it is called in tables and errors."""
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


@dataclass(frozen=True)
class HubFile:
    """One file in a hub repository."""

    repo: str
    file: str
    revision: str | None = None
    sha256: str | None = None

    @property
    def title(self) -> str:
        """What it is called in tables and errors."""
        return f"{self.repo}/{self.file}" if self.revision is None else f"{self.repo}/{self.file}@{self.revision}"


@dataclass(frozen=True)
class WebFile:
    """One file at an http or https address."""

    url: str
    sha256: str | None = None

    @property
    def title(self) -> str:
        """What it is called in tables and errors."""
        return shown(self.url)


@dataclass(frozen=True)
class LocalPath:
    """A file or directory of this machine, or of a disk that it shares: it is never fetched."""

    path: str

    @property
    def title(self) -> str:
        """What it is called in tables and errors."""
        return self.path


Source = HubModel | HubFile | WebFile | LocalPath


class FileEntry(Strict):
    """One file in the configuration: ``repo`` and ``file`` of the hub, a ``url``, or a ``path``; one of the three."""

    repo: str | None = Field(None, pattern=rf"^{HUB_ID.pattern}$", description="Of the hub: `owner/name`.")
    file: RepoFile | None = Field(None, description="In the repository.")
    revision: str | None = Field(None, description="Of the repository: a branch, tag or commit.")
    url: str | None = Field(None, pattern=r"^https?://", description="An address of your own choice.")
    path: str | None = Field(None, description="A file of this machine, or of a shared disk.")
    sha256: Sha256 | None = Field(
        None, description="64 hex digits. Another file is refused; without it, the digest is recorded as it is fetched."
    )

    @model_validator(mode="after")
    def _one_place(self) -> FileEntry:
        given = [name for name in ("repo", "url", "path") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("exactly one of repo, url and path says where the file is")
        if (self.repo is None) != (self.file is None):
            raise ValueError("repo and file go together")
        if self.repo is None and self.revision is not None:
            raise ValueError(f"a {given[0]} has no revision")
        return self

    @property
    def source(self) -> HubFile | WebFile | LocalPath:
        """Where the file is."""
        if self.repo is not None and self.file is not None:
            return HubFile(self.repo, self.file, self.revision, self.sha256)
        return WebFile(self.url, self.sha256) if self.url is not None else LocalPath(self.path or "")


class AdapterEntry(FileEntry):
    """One adapter in the configuration: its file, and what its author left out of it."""

    triggers: tuple[Trigger, ...] = Field(
        (), max_length=20, description="Words that it answers to, in place of those in the file."
    )


def named_file(text: str, revision: str | None = None, sha256: str | None = None) -> HubFile | LocalPath:
    """Return the file that ``text`` names: `owner/name/file` of the hub, unless a file of that name is here."""
    repo, file = "/".join(text.split("/")[:2]), "/".join(text.split("/")[2:])
    if Path(text).is_file() or not file or not HUB_ID.fullmatch(repo) or not _HUB_FILE.fullmatch(file):
        return LocalPath(text)
    return HubFile(repo, file, revision, sha256)


def model_sources(weights: BaseModel, is_config_only: bool = False) -> tuple[Source, ...]:
    """Return what `model` and `revision` of ``weights`` name: a directory, or a repository of the hub."""
    model, revision = getattr(weights, "model", None), getattr(weights, "revision", None)
    if not isinstance(model, str):
        return ()
    if Path(model).exists() or not HUB_ID.fullmatch(model):
        return (LocalPath(model),)
    return (HubModel(model, revision, is_config_only),)


def part_sources(place: str | None, folder: str, revision: str | None = None) -> tuple[Source, ...]:
    """Return what ``place`` names beside a model: a directory, or the ``folder`` of a hub repository with one network.

    ``place`` None names nothing. Of a repository only that folder is fetched, in diffusers' layout of a network.
    """
    if place is None:
        return ()
    if Path(place).exists() or not HUB_ID.fullmatch(place):
        return (LocalPath(place),)
    files = ("config.json", "diffusion_pytorch_model.safetensors")
    return tuple(HubFile(place, f"{folder}/{file}", revision) for file in files)


def sources_of(weights: Any) -> tuple[Source, ...]:
    """Return everything that a stage with these ``weights`` reads, bundled files aside."""
    own = getattr(weights, "sources", None)
    found: tuple[Source, ...] = own() if callable(own) else model_sources(weights)
    return found
