"""`generate.ltx2` with adapters: each clip is the one that the dense formula gives, and leaves nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deployments.adapt.lora import Lora
from deployments.nets.lora.loaded import layer_at
from serve_app.core.adapter import Adapters, WantedAdapters
from serve_app.core.errors import BadAdapter, Cancelled, OutOfMemory, Unknown
from serve_app.core.media import Clip
from tests.deployments.loaded_ltx2 import LoadedLtx2, load
from tests.deployments.lora.files import Made

MODEL = torch.device("cpu")


def _parts(ltx2: LoadedLtx2) -> dict[str, torch.nn.Module]:
    return {"transformer": ltx2.part.transformer, "connectors": ltx2.part.connectors}


def _made(ltx2: LoadedLtx2, seed: int, rank: int = 4, only: str = "") -> Made:
    """Return an adapter strong enough to be seen, in the authors' names for the transformer."""
    made, generator = Made(), torch.Generator().manual_seed(seed)
    for part, module in _parts(ltx2).items():
        for name, layer in module.named_modules():
            if isinstance(layer, torch.nn.Linear) and only in f"{part}.{name}":
                down = torch.randn(rank, layer.in_features, generator=generator) / layer.in_features**0.5
                up = 0.2 * torch.randn(layer.out_features, rank, generator=generator)
                made.tensors[f"{part}.{name}.lora_A.weight"] = down
                made.tensors[f"{part}.{name}.lora_B.weight"] = up
                made.dense[f"{part}.{name}"] = up.double() @ down.double()
    return made


@pytest.fixture
def lora(tiny_ltx2_dir: Path, ltx2: LoadedLtx2, tmp_path: Path) -> Lora:
    """Return `adapt.lora` that shares its artifacts with the generator; `a`, `b` and `words` are there."""
    _made(ltx2, 1).save(tmp_path / "a.safetensors")
    _made(ltx2, 2, rank=7, only="attn").save(tmp_path / "b.safetensors")
    _made(ltx2, 3, only="connectors").save(tmp_path / "words.safetensors")
    stage = Lora()
    given: dict[str, Any] = {"family": "ltx2", "model": str(tiny_ltx2_dir), "directories": (str(tmp_path),)}
    stage.load(Lora.Weights(**given), ltx2.desk)
    return stage


def _find(lora: Lora, names: str) -> Adapters:
    return lora.run(Lora.Params(), adapter=WantedAdapters.parse(names))


@contextmanager
def _dense(ltx2: LoadedLtx2, *added: tuple[Made, float]) -> Iterator[None]:
    """Add the dense differences to the weights themselves, and take the weights back."""
    kept: dict[str, torch.Tensor] = {}
    for made, strength in added:
        for path, dense in made.dense.items():
            weight = layer_at(_parts(ltx2), path).weight
            assert isinstance(weight, torch.nn.Parameter)
            kept.setdefault(path, weight.detach().clone())
            weight.data = (weight.double() + strength * dense).float()
    try:
        yield
    finally:
        for path, original in kept.items():
            weight = layer_at(_parts(ltx2), path).weight
            assert isinstance(weight, torch.nn.Parameter)
            weight.data = original


def _is_close(one: Clip, other: Clip) -> bool:
    """Whether two clips differ by no more than how sums of floats are rounded: a level here and there."""
    return int(np.abs(one.frames.astype(int) - other.frames.astype(int)).max()) <= 1


def _is_same(one: Clip, other: Clip) -> bool:
    assert one.audio is not None
    assert other.audio is not None
    return np.array_equal(one.frames, other.frames) and np.array_equal(one.audio.samples, other.audio.samples)


@pytest.mark.parametrize("names", ["a@0.65", "a@0.65,b@-0.5", "words"])
def test_a_clip_is_the_one_of_the_dense_formula(ltx2: LoadedLtx2, lora: Lora, names: str) -> None:
    made = {"a": _made(ltx2, 1), "b": _made(ltx2, 2, rank=7, only="attn"), "words": _made(ltx2, 3, only="connectors")}
    wanted = WantedAdapters.parse(names).items
    base, worn = ltx2.make("a dense fox"), ltx2.make("a dense fox", adapters=_find(lora, names))
    # Another text for the dense weights: what the connectors made of the first is kept, and they know nothing of this.
    ltx2.stage._prompts._kept.clear()
    with _dense(ltx2, *((made[each.name], 1.0 if each.strength is None else each.strength) for each in wanted)):
        dense = ltx2.make("a dense fox")
    ltx2.stage._prompts._kept.clear()
    assert _is_close(worn, dense)
    assert not _is_close(worn, base)


def test_what_was_applied_is_noted(ltx2: LoadedLtx2, lora: Lora) -> None:
    ltx2.make(adapters=_find(lora, "a@0.65,b@0"))
    first, second = ltx2.desk.notes["adapters"]
    assert (first["name"], first["applied"], first["strength"]) == ("a", "unfused", 0.65)
    assert first["pairs"] == first["layers"] == len(_made(ltx2, 1).dense)
    assert first["rank"] == "4"
    assert second["applied"] == "not at all"
    assert "b has no effect at strength 0" in ltx2.desk.warnings
    assert not any("never ran" in warning for warning in ltx2.desk.warnings)


def test_the_next_clip_is_the_bases_again(ltx2: LoadedLtx2, lora: Lora) -> None:
    before = ltx2.make()
    ltx2.make(adapters=_find(lora, "a,b"))
    assert _is_same(ltx2.make(), before)
    assert _is_same(ltx2.make(adapters=Adapters(())), before)


def test_a_cancelled_clip_leaves_nothing_behind(ltx2: LoadedLtx2, lora: Lora) -> None:
    before, adapters = ltx2.make(), _find(lora, "a")
    ltx2.desk.clear()
    ltx2.desk.cancel_after = 1
    with pytest.raises(Cancelled):
        ltx2.make(adapters=adapters)
    ltx2.clear()
    assert _is_same(ltx2.make(), before)


def test_a_kept_prompt_is_not_handed_to_other_connectors(ltx2: LoadedLtx2, lora: Lora) -> None:
    base = ltx2.make("a kept fox")
    worn = ltx2.make("a kept fox", adapters=_find(lora, "words"))
    assert not _is_close(base, worn)
    assert _is_same(ltx2.make("a kept fox", adapters=_find(lora, "words")), worn)
    assert _is_same(ltx2.make("a kept fox"), base)


def test_eight_clients_with_sets_of_their_own_get_their_own_clips(ltx2: LoadedLtx2, lora: Lora) -> None:
    names = ["a", "b", "a,b", "a@0.5", "b@0.5", "a@-1", "words", "words@0.5,a"]
    sets = [_find(lora, each) for each in names]
    alone, together = [ltx2.make(adapters=each) for each in sets], [Clip] * len(sets)

    def work(index: int) -> None:
        together[index] = ltx2.make(adapters=sets[index])  # type: ignore[call-overload]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(sets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_is_same(one, other) for one, other in zip(alone, together, strict=True))  # type: ignore[arg-type]
    assert len({clip.frames.tobytes() for clip in alone}) == len(names)


def test_an_adapter_that_was_verified_for_another_base_is_refused(ltx2: LoadedLtx2, lora: Lora) -> None:
    from dataclasses import replace

    (adapter,) = _find(lora, "a").items
    with pytest.raises(BadAdapter, match="verified for wan"):
        ltx2.make(adapters=Adapters((replace(adapter, base="wan"),)))


def test_an_adapter_whose_bytes_are_gone_is_told(ltx2: LoadedLtx2, lora: Lora) -> None:
    from dataclasses import replace

    (adapter,) = _find(lora, "a").items
    with pytest.raises(Unknown):
        ltx2.make(adapters=Adapters((replace(adapter, digest="0" * 64),)))


def test_adapters_beyond_the_budget_are_refused_by_name_of_the_budget(
    tiny_ltx2_dir: Path, lora: Lora, ltx2: LoadedLtx2, tmp_path: Path
) -> None:
    tight = load(tiny_ltx2_dir, tmp_path / "desk", adapter_bytes=1000)
    tight.desk.artifacts = ltx2.desk.artifacts
    with pytest.raises(OutOfMemory, match="budget of 1000"):
        tight.make(adapters=_find(lora, "a"))


def test_baked_it_makes_the_same_clips_and_goes_back_to_the_base(
    tiny_ltx2_dir: Path, lora: Lora, ltx2: LoadedLtx2, tmp_path: Path
) -> None:
    baked = load(tiny_ltx2_dir, tmp_path / "desk", adapters="baked")
    baked.desk.artifacts = ltx2.desk.artifacts
    before = baked.make()
    for names in ("a@0.65", "a@0.65", "a@0.65,b@-0.5", "words", "a@0.65"):
        adapters = _find(lora, names)
        assert _is_close(baked.make(adapters=adapters), ltx2.make(adapters=adapters))
        assert baked.desk.notes["adapters"][0]["applied"] == "baked"
    assert _is_same(baked.make(), before)


@pytest.mark.parametrize("way", ["unfused", "baked"])
def test_an_adapter_too_faint_to_change_anything_is_refused(
    tiny_ltx2_dir: Path, lora: Lora, ltx2: LoadedLtx2, tmp_path: Path, way: str
) -> None:
    stage = load(tiny_ltx2_dir, tmp_path / "desk", adapters=way)
    stage.desk.artifacts = ltx2.desk.artifacts
    before = stage.make()
    with pytest.raises(BadAdapter, match="changes nothing at strength 1e-30"):
        stage.make(adapters=_find(lora, "a@1e-30"))
    assert _is_same(stage.make(), before)
