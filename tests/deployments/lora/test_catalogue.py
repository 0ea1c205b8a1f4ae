"""What a request may name: configured adapters and files, by every name that they go by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from deployments.nets.lora.card import read_card
from deployments.nets.lora.catalogue import Catalogue
from deployments.nets.lora.families import FamilyName
from deployments.nets.lora.triggers import MOST_CHARACTERS, MOST_WORDS
from serve_app.core.errors import BadAdapter, Unknown
from serve_app.core.source import AdapterEntry
from tests.deployments.lora.files import LAYOUTS, Make, make


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "adapters"
    path.mkdir()
    return path


def put(directory: Path, name: str, **metadata: str) -> Path:
    path = directory / f"{name}.safetensors"
    tensors = {"x.lora_A.weight": torch.ones(2, 4), "x.lora_B.weight": torch.ones(4, 2)}
    save_file(tensors, path, metadata=metadata or None)
    return path


def catalogue(directory: Path, family: FamilyName = "flux", **entries: Any) -> Catalogue:
    checked = {name.replace("_", "-"): AdapterEntry.model_validate(entry) for name, entry in entries.items()}
    return Catalogue(family, (directory,), checked)


@pytest.mark.parametrize(
    ("family", "name", "file"),
    [
        ("flux", "anime", "anime"),
        ("flux", "anime.safetensors", "anime"),
        ("flux", "character-7", "character-7"),
        ("qwen-image", "character-7", "qwen-character-7"),
        ("qwen-image", "character-8", "character-8"),
        ("wan", "character-7", "wan-character-7"),
        ("qwen-image", "wan-character-7", "wan-character-7"),
    ],
)
def test_a_name_finds_its_file(directory: Path, family: FamilyName, name: str, file: str) -> None:
    for each in ("anime", "character-7", "character-8", "qwen-character-7", "wan-character-7"):
        put(directory, each)
    place = catalogue(directory, family).find(name)
    assert (place.name, place.path) == (file, directory / f"{file}.safetensors")


def test_a_configured_name_wins_over_a_file(directory: Path, tmp_path: Path) -> None:
    put(directory, "anime")
    other = put(tmp_path, "other")
    assert catalogue(directory, anime={"path": str(other)}).find("anime").path == other


def test_a_configured_character_is_found_under_its_familys_name(directory: Path, tmp_path: Path) -> None:
    other = put(tmp_path, "other")
    place = catalogue(directory, "wan", wan_character_7={"path": str(other)}).find("character-7")
    assert (place.name, place.path) == ("wan-character-7", other)


def test_configured_names_are_offered_too(directory: Path) -> None:
    with pytest.raises(Unknown, match="did you mean anime-v2"):
        catalogue(directory, anime_v2={"repo": "a/b", "file": "c.safetensors"}).find("anime-v3")


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"repo": "a/b"},
        {"file": "c.safetensors"},
        {"repo": "a/b", "file": "../c.safetensors"},
        {"repo": "a/b", "file": "/etc/c.safetensors"},
        {"repo": "no-owner", "file": "c.safetensors"},
        {"url": "ftp://host/c.safetensors"},
        {"url": "https://host/c.safetensors", "path": "/c.safetensors"},
        {"path": "/c.safetensors", "revision": "main"},
        {"path": "/c.safetensors", "sha256": "abc"},
        {"path": "/c.safetensors", "triggers": ["x" * 101]},
        {"path": "/c.safetensors", "surprise": 1},
    ],
)
def test_an_entry_says_one_place_and_says_it_right(entry: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdapterEntry.model_validate(entry)


def test_another_digest_than_the_configured_one_is_told_on_the_card(directory: Path, tmp_path: Path) -> None:
    other = put(tmp_path, "other")
    (card,) = catalogue(directory, anime={"path": str(other), "sha256": "0" * 64}).cards()
    assert card.state == "unreadable"
    assert "is configured" in (card.error or "")


def test_configured_trigger_words_stand_for_those_in_the_file(directory: Path, tmp_path: Path) -> None:
    other = put(tmp_path, "other", trigger_word="wrong")
    (card,) = catalogue(directory, anime={"path": str(other), "triggers": ["ohwx"]}).cards()
    assert card.triggers == ("ohwx",)


def test_trigger_words_of_a_file_are_bounded(directory: Path) -> None:
    words = [f"word {index}" for index in range(50)]
    path = put(directory, "a", trigger_words=", ".join(["x" * (MOST_CHARACTERS + 1), "bad\x00word", *words]))
    assert read_card(path).triggers == tuple(words[:MOST_WORDS])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_card_says_the_layout_the_ranks_and_the_dtype_of_every_layout(directory: Path, layout: str) -> None:
    path = make(Make("flux", layout, rank=3, dtype=torch.bfloat16, only="single")).save(directory / "a.safetensors")
    card = read_card(path)
    assert card.layout.split()[0] in ("peft", "bare", "comfy", "kohya")
    assert card.layout.endswith("down/up" if "down" in LAYOUTS[layout][1] else "A/B")
    assert (card.ranks, card.dtype, card.looks_made_for) == ((3, 3), "bf16", "Flux.1")


def test_a_card_is_refused_for_half_a_pair(directory: Path) -> None:
    path = directory / "a.safetensors"
    save_file({"x.lora_A.weight": torch.ones(2, 4)}, path)
    with pytest.raises(BadAdapter, match=r"a\.safetensors: x: it has lora_A \(down\) and no lora_B"):
        read_card(path)
