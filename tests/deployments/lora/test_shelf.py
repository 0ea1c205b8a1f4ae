"""Files by name, from directories that change while we look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from deployments.nets.lora.shelf import Shelf
from serve_app.artifacts.local import LocalArtifacts
from serve_app.core import digest
from serve_app.core.errors import BadAdapter, Misconfigured, Unknown
from tests.deployments.lora.files import Made


def _file(path: Path, value: float = 1.0) -> Path:
    path.parent.mkdir(exist_ok=True)
    return Made({"a": torch.full((2,), value)}).save(path)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    first, second = tmp_path / "first", tmp_path / "second"
    for name in ("anime-v2", "character-7", "qwen-character-7"):
        _file(first / f"{name}.safetensors")
    _file(second / "anime-v2.safetensors", 2.0)
    _file(second / "film.v1.safetensors")
    _file(tmp_path / "outside.safetensors")
    (first / "old.ckpt").write_bytes(b"\x80\x04")
    (tmp_path / "scratch").mkdir()
    return Shelf([first, second], LocalArtifacts(tmp_path / "artifacts"), tmp_path / "scratch")


def test_a_name_is_a_file_with_or_without_its_suffix(shelf: Shelf) -> None:
    assert shelf.find("film.v1") == shelf.find("film.v1.safetensors")
    assert shelf.find("film.v1").name == "film.v1.safetensors"


def test_the_first_directory_wins(shelf: Shelf) -> None:
    assert shelf.find("anime-v2").parent.name == "first"


def test_a_character_is_looked_for_under_the_familys_names_first(shelf: Shelf) -> None:
    assert shelf.find("character-7", ("qwen-", "")).name == "qwen-character-7.safetensors"
    assert shelf.find("character-7", ("wan-", "")).name == "character-7.safetensors"
    assert shelf.find("anime-v2", ("qwen-", "")).name == "anime-v2.safetensors"


@pytest.mark.parametrize("name", ["nobody", "../outside", "..", "/etc/passwd", "first/anime-v2", ""])
def test_nothing_outside_is_found(shelf: Shelf, name: str) -> None:
    with pytest.raises(Unknown):
        shelf.find(name)


def test_an_unknown_name_is_answered_with_the_nearest(shelf: Shelf) -> None:
    with pytest.raises(Unknown, match=r"did you mean anime-v2"):
        shelf.find("anime-v3")


@pytest.mark.parametrize("name", ["old", "old.ckpt"])
def test_a_pickled_file_is_named_as_such(shelf: Shelf, name: str) -> None:
    with pytest.raises(BadAdapter, match="pickle"):
        shelf.find(name)


def test_a_new_file_is_seen_without_a_restart(shelf: Shelf) -> None:
    with pytest.raises(Unknown):
        shelf.find("new")
    _file(shelf.find("anime-v2").with_name("new.safetensors"))
    assert shelf.find("new").is_file()
    assert "new" in shelf.names()


def test_a_kept_file_is_in_the_store_and_still_where_it_was(shelf: Shelf, tmp_path: Path) -> None:
    path = shelf.find("anime-v2")
    data = path.read_bytes()
    kept = shelf.keep(path)
    assert kept == digest.of_bytes(data)
    assert path.read_bytes() == data
    path.unlink()
    assert LocalArtifacts(tmp_path / "artifacts").path_of(kept).read_bytes() == data
    assert list((tmp_path / "scratch").iterdir()) == []


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, puts = shelf.find("anime-v2"), list[str]()
    put = LocalArtifacts.put_file

    def counted(self: LocalArtifacts, source: Path, *rest: object) -> object:
        puts.append(source.name)
        return put(self, source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalArtifacts, "put_file", counted)
    first = shelf.keep(path)
    assert shelf.keep(path) == first
    assert len(puts) == 1
    _file(path, 3.0)
    os.utime(path, ns=(1, 1))
    assert shelf.keep(path) != first
    assert len(puts) == 2


def test_a_file_that_the_store_has_lost_is_kept_again(shelf: Shelf, tmp_path: Path) -> None:
    kept = shelf.keep(shelf.find("anime-v2"))
    store = LocalArtifacts(tmp_path / "artifacts")
    store.path_of(kept).unlink()
    assert shelf.keep(shelf.find("anime-v2")) == kept
    assert store.path_of(kept).is_file()


def test_a_broken_file_is_not_copied(shelf: Shelf, tmp_path: Path) -> None:
    path = shelf.find("anime-v2")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadAdapter, match="truncated"):
        shelf.keep(path)
    assert list((tmp_path / "artifacts").rglob("*.part")) == []


def test_a_directory_that_is_not_there_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as caught:
        Shelf([tmp_path / "nowhere"], LocalArtifacts(tmp_path / "artifacts"), tmp_path)
    assert caught.value.field == "weights.directories"
