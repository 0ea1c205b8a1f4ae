"""What a repository of the Hugging Face hub holds, and which of its files a model needs.

The hub's API (https://huggingface.co/docs/hub/api) gives every file's size and digest: the sha256 of large files, and
git's own digest of small ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serve_app import environment
from serve_app.core.errors import NotFetched
from serve_app.core.fetch import Remote
from serve_app.core.web import USUAL, Bounds, get_json

UNKNOWN_LICENCE = "unknown"
INDEX = "model_index.json"
"""What makes a repository a pipeline of diffusers: it names the parts, each of which has a folder."""

_SMALL = (".json", ".txt", ".model", ".jinja", ".spm", ".vocab", ".tiktoken")
_WEIGHTS = ".safetensors"
_VARIANT = re.compile(r"\.(fp16|bf16|fp32|fp8|ema|non_ema|int8)([.-]|$)")
_SHARD = re.compile(r"(model|diffusion_pytorch_model|pytorch_model)(-\d{5}-of-\d{5})?\.safetensors")


@dataclass(frozen=True)
class HubEntry:
    """One file of a repository. ``tag`` is its name in the hub's cache: its sha256, or git's digest of it."""

    repo: str
    commit: str
    name: str
    size_bytes: int
    tag: str
    sha256: str | None

    @property
    def title(self) -> str:
        """`owner/name/file`."""
        return f"{self.repo}/{self.name}"

    def remote(self) -> Remote:
        """Return where its bytes are."""
        return Remote(
            url=f"{environment.hub_endpoint()}/{self.repo}/resolve/{self.commit}/{quote(self.name)}",
            sha256=self.sha256,
            git_sha1=self.tag if self.sha256 is None else None,
            size_bytes=self.size_bytes,
            token=environment.hub_token(),
        )


@dataclass(frozen=True)
class Listing:
    """A repository at one commit."""

    repo: str
    commit: str
    licence: str
    """By its model card."""
    entries: Mapping[str, HubEntry]

    def entry(self, name: str) -> HubEntry:
        """Return one file. Raises NotFetched."""
        if name not in self.entries:
            raise NotFetched(f"{self.repo}/{name}", f"it is not there, at {self.commit[:12]}")
        return self.entries[name]


class _Large(BaseModel):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class _Sibling(BaseModel):
    rfilename: str = Field(pattern=r"^[^/\\]")
    size: int | None = Field(None, ge=0)
    blob: str | None = Field(None, alias="blobId", pattern=r"^[0-9a-f]{40}$")
    lfs: _Large | None = None


class _Model(BaseModel):
    """What we read of the hub's answer; there is more in it."""

    model_config = ConfigDict(extra="ignore")

    sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    siblings: list[_Sibling]
    card: dict[str, Any] | None = Field(None, alias="cardData")


def listing(repo: str, revision: str, bounds: Bounds = USUAL) -> Listing:
    """Ask the hub what ``repo`` holds at ``revision``. Raises NotFetched."""
    where = f"{repo}@{revision}"
    if environment.is_hub_offline():
        raise NotFetched(where, "HF_HUB_OFFLINE is set, and it is not here")
    url = f"{environment.hub_endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        document = get_json(url, environment.hub_token(), bounds)
        model = _Model.model_validate(document)
    except NotFetched as error:
        raise NotFetched(where, error.reason) from error
    except ValidationError as error:
        raise NotFetched(where, f"the hub's answer is not understood: {error.errors()[0]['msg']}") from error
    entries = {each.rfilename: _entry(repo, model.sha, each) for each in model.siblings}
    return Listing(repo, model.sha, _licence(model.card), entries)


def _entry(repo: str, commit: str, each: _Sibling) -> HubEntry:
    parts = PurePosixPath(each.rfilename).parts
    if ".." in parts or "\\" in each.rfilename:
        raise NotFetched(f"{repo}/{each.rfilename}", "this is no name of a file")
    if each.lfs is not None:
        return HubEntry(repo, commit, each.rfilename, each.lfs.size, each.lfs.sha256, each.lfs.sha256)
    if each.blob is None or each.size is None:
        raise NotFetched(f"{repo}/{each.rfilename}", "the hub does not tell its size and digest")
    return HubEntry(repo, commit, each.rfilename, each.size, each.blob, None)


def _licence(card: Mapping[str, Any] | None) -> str:
    """Return the model card's licence; one of the authors' own has a name beside the word `other`."""
    found = card or {}
    word = found.get("license_name") if found.get("license") == "other" else found.get("license")
    word = word or found.get("license")
    return word if isinstance(word, str) and word else UNKNOWN_LICENCE


def needed(found: Listing, index: Mapping[str, Any] | None, is_config_only: bool) -> list[HubEntry]:
    """Return what a model needs of its repository: of a diffusers one, by its ``index``, else what lies at its root.

    Weights in safetensors in their plain variant, configuration, tokenizers. Raises NotFetched where there are none.
    """
    folders = {""} if index is None else {"", *(name for name, value in index.items() if _is_part(value))}
    names = [name for name in found.entries if name.rpartition("/")[0].partition("/")[0] in folders]
    chosen = [name for name in names if name.endswith(_SMALL) and not _VARIANT.search(name)]
    weights = [name for name in names if _is_weights(name, names, index is not None)]
    if not is_config_only and not weights:
        raise NotFetched(found.repo, "it holds no weights in safetensors, and pickles are not read")
    return [found.entries[name] for name in sorted([*chosen, *([] if is_config_only else weights)])]


def _is_part(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)


def _is_weights(name: str, names: list[str], is_pipeline: bool) -> bool:
    """Whether a file is weights that are read: at the root of a pipeline there are none, only copies in one file."""
    path = PurePosixPath(name)
    if path.suffix != _WEIGHTS or _VARIANT.search(path.name):
        return False
    at_root = path.parent == PurePosixPath()
    if at_root and is_pipeline:
        return False
    siblings = [PurePosixPath(each).name for each in names if PurePosixPath(each).parent == path.parent]
    has_usual = any(_SHARD.fullmatch(each) for each in siblings)
    return bool(_SHARD.fullmatch(path.name)) or not has_usual
