"""The hub's files: listed, chosen, fetched into the hub's own cache, found there by the hub's own library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serve_app.core import depot
from serve_app.core import hub as cache
from serve_app.core.errors import Misconfigured, NotFetched
from serve_app.core.hub_listing import listing, needed
from serve_app.core.obtain import at_hand, obtain
from serve_app.core.source import HubFile, LocalPath, WebFile
from serve_app.core.web import Bounds
from tests.hub.server import COMMIT, Fault, Hub, Repository

QUICK = Bounds(attempts=3, first_pause_s=0.01, longest_pause_s=0.05, connect_s=2, read_s=2)
STYLE = HubFile("ann/loras", "styles/anime.safetensors")
WEIGHTS = b"0" * 5000
PIPELINE: dict[str, bytes] = {
    "model_index.json": json.dumps(
        {"_class_name": "X", "transformer": ["diffusers", "T"], "tokenizer": ["transformers", "C"], "is_big": True}
    ).encode(),
    "transformer/config.json": b"{}",
    "transformer/diffusion_pytorch_model.safetensors": WEIGHTS,
    "transformer/diffusion_pytorch_model.fp16.safetensors": WEIGHTS[1:],
    "transformer/diffusion_pytorch_model.bin": b"pickle",
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"",
    "tokenizer/spiece.model": b"x",
    "whole-model-in-one-file.safetensors": WEIGHTS * 2,
    "examples/a.json": b"{}",
    "README.md": b"words",
    "picture.png": b"png",
}


@pytest.fixture
def loras(hub: Hub) -> Repository:
    hub.repositories["ann/loras"] = Repository({"styles/anime.safetensors": WEIGHTS, "notes.txt": b"hello"})
    return hub.repositories["ann/loras"]


def names(files: dict[str, bytes], index: dict[str, Any] | None, hub: Hub, is_config_only: bool = False) -> list[str]:
    hub.repositories["ann/model"] = Repository(files)
    return [entry.name for entry in needed(listing("ann/model", "main"), index, is_config_only)]


def test_a_file_is_fetched_once_and_the_hubs_library_finds_it_offline(hub: Hub, loras: Repository) -> None:
    from huggingface_hub import hf_hub_download

    path = obtain(STYLE, bounds=QUICK)
    assert path.read_bytes() == WEIGHTS
    assert obtain(STYLE, bounds=QUICK) == path == at_hand(STYLE)
    assert len(hub.gets(".safetensors")) == 1
    found = hf_hub_download(STYLE.repo, STYLE.file, local_files_only=True, cache_dir=path.parents[4])
    assert Path(found) == path


def test_what_is_here_needs_no_hub(hub: Hub, loras: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    obtain(STYLE, bounds=QUICK)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert obtain(STYLE, bounds=QUICK).is_file()
    assert hub.asked == []


def test_offline_what_is_not_here_is_an_error_and_no_request(
    hub: Hub, loras: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFetched, match="ann/loras@main: HF_HUB_OFFLINE is set"):
        obtain(STYLE, bounds=QUICK)
    assert hub.asked == []


def test_a_commit_can_be_asked_for_and_no_branch_is_recorded(hub: Hub, loras: Repository) -> None:
    path = obtain(HubFile(STYLE.repo, STYLE.file, COMMIT), bounds=QUICK)
    assert path.parts[-3] == COMMIT
    assert cache.commit_here(STYLE.repo, "main") is None


def test_a_branch_that_moved_keeps_the_commit_that_others_were_pulled_at(hub: Hub, loras: Repository) -> None:
    obtain(STYLE, bounds=QUICK)
    hub.repositories["ann/loras"] = Repository({"other.safetensors": b"new"}, commit="d" * 40)
    with pytest.raises(NotFetched, match="HTTP 404"):  # this hub has forgotten the old commit
        obtain(HubFile(STYLE.repo, "other.safetensors"), bounds=QUICK)
    assert cache.commit_here(STYLE.repo, "main") == COMMIT


def test_a_digest_in_the_configuration_is_held_against_the_hubs(hub: Hub, loras: Repository) -> None:
    wrong = HubFile(STYLE.repo, STYLE.file, sha256="0" * 64)
    with pytest.raises(NotFetched, match="0000 is configured"):
        obtain(wrong, bounds=QUICK)
    obtain(STYLE, bounds=QUICK)
    with pytest.raises(NotFetched, match="as configured"):
        obtain(wrong, bounds=QUICK)


def test_a_token_opens_what_is_closed(hub: Hub, loras: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    loras.token = "hf_secret"
    with pytest.raises(NotFetched, match="set HF_TOKEN") as caught:
        obtain(STYLE, bounds=QUICK)
    assert "hf_secret" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert obtain(STYLE, bounds=QUICK).read_bytes() == WEIGHTS


@pytest.mark.parametrize("status", [429, 503])
def test_a_hub_that_is_busy_is_asked_again(hub: Hub, loras: Repository, status: int) -> None:
    hub.faults["/revision/main"] = Fault(times=2, status=status)
    assert obtain(STYLE, bounds=QUICK).read_bytes() == WEIGHTS


def test_a_repository_that_is_not_there_is_named(hub: Hub) -> None:
    with pytest.raises(NotFetched, match="nobody/nothing@main: HTTP 404"):
        obtain(HubFile("nobody/nothing", "a.safetensors"), bounds=QUICK)


def test_a_file_that_is_not_there_is_named(hub: Hub, loras: Repository) -> None:
    with pytest.raises(NotFetched, match=r"ann/loras/b\.safetensors: it is not there"):
        obtain(HubFile("ann/loras", "b.safetensors"), bounds=QUICK)


@pytest.mark.parametrize("name", ["../../evil.safetensors", "a/../../evil.safetensors"])
def test_a_hub_that_names_files_elsewhere_is_refused(hub: Hub, loras: Repository, name: str) -> None:
    loras.files[name] = b"x"
    with pytest.raises(NotFetched, match="no name of a file"):
        obtain(STYLE, bounds=QUICK)


def test_an_answer_that_is_no_listing_is_refused(hub: Hub) -> None:
    hub.plain["/api/models/ann/loras/revision/main"] = b"[]"
    with pytest.raises(NotFetched, match="not understood"):
        obtain(STYLE, bounds=QUICK)
    hub.plain["/api/models/ann/loras/revision/main"] = b"<html>"
    with pytest.raises(NotFetched, match="not JSON"):
        obtain(STYLE, bounds=QUICK)


def test_an_endpoint_that_is_no_address_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    with pytest.raises(Misconfigured, match="HF_ENDPOINT"):
        listing("ann/loras", "main")


def test_of_a_pipeline_its_parts_are_taken_in_safetensors_and_no_copy_of_them(hub: Hub) -> None:
    assert names(PIPELINE, json.loads(PIPELINE["model_index.json"]), hub) == [
        "model_index.json", "tokenizer/merges.txt", "tokenizer/spiece.model", "tokenizer/vocab.json",
        "transformer/config.json", "transformer/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip


def test_of_a_base_whose_layers_alone_are_looked_at_no_weights_are_taken(hub: Hub) -> None:
    found = names(PIPELINE, json.loads(PIPELINE["model_index.json"]), hub, is_config_only=True)
    assert not [name for name in found if name.endswith(".safetensors")]


def test_of_a_language_model_the_root_is_taken_without_its_second_copy(hub: Hub) -> None:
    files = {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model-00001-of-00002.safetensors": b"1",
        "model-00002-of-00002.safetensors": b"2",
        "model.safetensors.index.json": b"{}",
        "consolidated.safetensors": b"12",
        "original/consolidated.pth": b"",
    }
    assert names(files, None, hub) == [
        "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "tokenizer.json",
    ]  # fmt: skip


def test_pickles_alone_are_refused(hub: Hub) -> None:
    with pytest.raises(NotFetched, match="no weights in safetensors"):
        names({"config.json": b"{}", "pytorch_model.bin": b""}, None, hub)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": "other", "license_name": "ltx-2-community"}, "ltx-2-community"),
        ({"license": "other"}, "other"),
        ({"license": ["mit"]}, "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_the_model_cards(hub: Hub, card: dict[str, Any] | None, licence: str) -> None:
    hub.plain["/api/models/a/b/revision/main"] = json.dumps({"sha": COMMIT, "siblings": [], "cardData": card}).encode()
    assert listing("a/b", "main").licence == licence


def test_a_file_from_a_plain_address_is_kept_with_a_record_of_its_digest(hub: Hub) -> None:
    hub.plain["/files/anime.safetensors"] = WEIGHTS
    source = WebFile(f"{hub.url}/files/anime.safetensors?key=secret")
    kept = depot.have(source, bounds=QUICK)
    assert (kept.path.name, kept.path.read_bytes(), kept.size_bytes) == ("anime.safetensors", WEIGHTS, 5000)
    assert depot.have(source, bounds=QUICK) == kept == depot.find(source)
    assert len(hub.gets("anime.safetensors")) == 1
    assert "secret" not in kept.path.with_name("anime.safetensors.json").read_text()


def test_another_wanted_digest_is_another_file(hub: Hub) -> None:
    hub.plain["/a.safetensors"] = WEIGHTS
    depot.have(WebFile(f"{hub.url}/a.safetensors"), bounds=QUICK)
    with pytest.raises(NotFetched, match="was expected"):
        depot.have(WebFile(f"{hub.url}/a.safetensors", "0" * 64), bounds=QUICK)


def test_a_kept_file_that_was_cut_is_fetched_again(hub: Hub) -> None:
    hub.plain["/a.safetensors"] = WEIGHTS
    source = WebFile(f"{hub.url}/a.safetensors")
    kept = depot.have(source, bounds=QUICK)
    kept.path.write_bytes(WEIGHTS[:10])
    assert depot.find(source) is None
    assert depot.have(source, bounds=QUICK).path.read_bytes() == WEIGHTS


def test_a_path_is_taken_where_it_is_and_never_fetched(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(NotFetched, match="no such file"):
        obtain(LocalPath(str(file)))
    file.write_bytes(b"x")
    assert obtain(LocalPath(str(file))) == at_hand(LocalPath(str(file))) == file
