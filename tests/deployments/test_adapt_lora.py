"""`adapt.lora` from the outside: names in, verified adapters out, and what no generator ever hears of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.adapt.lora import Lora
from serve_app.core import digest
from serve_app.core.adapter import Adapter, Adapters, WantedAdapters
from serve_app.core.errors import BadAdapter, Cancelled, Misconfigured, Unknown
from tests.deployments.desk import DeskContext
from tests.deployments.lora.files import Made, Make, make


@dataclass
class Loaded:
    """A stage, its desk and its directory."""

    stage: Lora
    desk: DeskContext
    directory: Path

    def find(self, names: Any, prompt: str | None = None, **params: Any) -> tuple[Adapter, ...]:
        """Run the stage for what a request says."""
        self.desk.notes.clear()
        self.desk.warnings.clear()
        wanted = None if names is None else WantedAdapters.parse(names)
        return self.stage.run(Lora.Params(**params), adapter=wanted, prompt=prompt).items

    def put(self, name: str, made: Made) -> Path:
        """Put a file where the operator would."""
        return made.save(self.directory / f"{name}.safetensors")


def _load(directory_of_model: Path, desk: Path, **weights: Any) -> Loaded:
    directory, context, stage = desk / "adapters", DeskContext(desk), Lora()
    directory.mkdir()
    given = {"family": "ltx2", "model": str(directory_of_model), "directories": (str(directory),), **weights}
    stage.load(Lora.Weights.model_validate(given), context)
    return Loaded(stage, context, directory)


@pytest.fixture
def lora(tiny_ltx2_dir: Path, tmp_path: Path) -> Loaded:
    return _load(tiny_ltx2_dir, tmp_path)


@pytest.fixture(scope="module")
def wan_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.deployments.tiny_wan import build

    return build(tmp_path_factory.mktemp("weights") / "tiny-wan")


def _made(**changes: Any) -> Made:
    """Return an adapter for LTX-2.0: the layers of 2.3 that it has not are left out."""
    made = make(Make("ltx2", only="attn1.to_", **changes))
    kept = {key: tensor for key, tensor in made.tensors.items() if "gate" not in key and "connector" not in key}
    return Made(kept)


def test_an_adapter_is_found_verified_and_described(lora: Loaded) -> None:
    path = lora.put("anime-v2", _made(rank=4, dtype=torch.bfloat16))
    (adapter,) = lora.find("anime-v2@0.8")
    sha256 = digest.of_bytes(path.read_bytes())
    assert (adapter.name, adapter.strength, adapter.base, adapter.digest) == ("anime-v2", 0.8, "ltx2", sha256)
    assert (adapter.ranks, adapter.dtype, adapter.pairs, adapter.layers) == ((4, 4), "bf16", 32, 32)
    assert adapter.size_bytes == path.stat().st_size
    assert lora.desk.artifacts.path_of(sha256).read_bytes() == path.read_bytes()
    (note,) = lora.desk.notes["adapters"]
    assert note["matched"] == "32/32"
    assert (note["rank"], note["dtype"], note["sha256"], note["strength"]) == ("4", "bf16", sha256, 0.8)
    assert lora.desk.warnings == []


def test_several_keep_their_order(lora: Loaded) -> None:
    lora.put("a", _made(seed=1))
    lora.put("b", _made(seed=2, rank=5))
    assert [str((one.name, one.strength)) for one in lora.find(["b@0.5", "a"])] == ["('b', 0.5)", "('a', 1.0)"]


def test_no_adapter_is_the_base_alone(lora: Loaded) -> None:
    assert lora.stage.run(Lora.Params()) == Adapters(())
    assert lora.find(None) == ()


def test_a_changed_file_is_another_adapter_without_a_restart(lora: Loaded) -> None:
    lora.put("style", _made(seed=1))
    (first,) = lora.find("style")
    lora.put("style", _made(seed=2, rank=6))
    (second,) = lora.find("style")
    assert first.digest != second.digest
    assert second.ranks == (6, 6)


def test_deleting_a_file_does_not_touch_who_uses_it(lora: Loaded) -> None:
    path = lora.put("style", _made())
    (adapter,) = lora.find("style")
    path.unlink()
    assert lora.desk.artifacts.path_of(adapter.digest).is_file()
    with pytest.raises(Unknown):
        lora.find("style")


@pytest.mark.parametrize(
    ("names", "prompt", "warning"),
    [
        ("style@2.5", None, "beyond 0 to 2"),
        ("style@-0.5", None, "beyond 0 to 2"),
        ("style@0", None, "no effect at strength 0"),
        ("style", "a cat", "'ohwx', which the prompt does not say"),
        ("ltx2-distill-r4", None, "distilled already"),
    ],
)
def test_what_will_surprise_is_said(tiny_ltx2_dir: Path, tmp_path: Path, names: str, prompt: str, warning: str) -> None:
    lora = _load(tiny_ltx2_dir, tmp_path, distilled=True)
    made = _made()
    made.metadata = {"modelspec.trigger_phrase": "ohwx, red fox"}
    lora.put("style", made)
    lora.put("ltx2-distill-r4", _made())
    lora.find(names, prompt)
    assert any(warning in each for each in lora.desk.warnings)


def test_a_prompt_with_the_triggers_is_not_warned_of(lora: Loaded) -> None:
    made = _made()
    made.metadata = {"modelspec.trigger_phrase": "ohwx"}
    lora.put("style", made)
    assert lora.find("style", "a portrait of OHWX")[0].triggers == ("ohwx",)
    assert lora.desk.warnings == []


def test_a_file_that_peft_wrote_itself_is_taken_with_a_word_on_its_alpha(lora: Loaded) -> None:
    made = _made(layout="peft, of itself")
    lora.put("style", made)
    lora.find("style")
    assert any("alpha" in each for each in lora.desk.warnings)


def test_a_bad_file_is_refused_by_its_own_name(lora: Loaded) -> None:
    made = _made()
    made.tensors["transformer.transformer_blocks.0.attn1.to_q.lora_A.weight"][0] = float("nan")
    lora.put("nan", made)
    with pytest.raises(BadAdapter, match=r"nan\.safetensors: transformer\.transformer_blocks\.0.*finite"):
        lora.find("nan")


def test_an_adapter_of_another_family_is_refused(lora: Loaded) -> None:
    lora.put("wan", make(Make("wan", "comfy")))
    with pytest.raises(BadAdapter, match="looks made for Wan"):
        lora.find("wan")


def test_what_fits_in_part_is_taken_where_that_is_allowed_and_told(lora: Loaded) -> None:
    made = _made()
    made.tensors["transformer.nobody.lora_A.weight"] = torch.ones(2, 3)
    made.tensors["transformer.nobody.lora_B.weight"] = torch.ones(3, 2)
    lora.put("style", made)
    with pytest.raises(BadAdapter, match="1 of 33"):
        lora.find("style")
    (adapter,) = lora.find("style", partial=True)
    assert adapter.is_partial
    assert lora.desk.notes["adapters"][0]["matched"] == "32/33"
    assert any("nobody" in each for each in lora.desk.warnings)


def test_a_cancelled_run_reads_nothing(lora: Loaded) -> None:
    lora.put("style", _made())
    lora.desk.cancel_after = 0
    with pytest.raises(Cancelled):
        lora.find("style")


@pytest.mark.parametrize(
    ("name", "expert", "parts"),
    [
        ("style-high_noise", "auto", ("transformer",)),
        ("style-LowNoise", "auto", ("transformer_2",)),
        ("style", "auto", ()),
        ("flower-style", "auto", ()),
        ("highres-fix", "auto", ()),
        ("style", "low", ("transformer_2",)),
        ("style-high_noise", "both", ()),
    ],
)
def test_of_two_experts_the_files_name_or_the_caller_decides(
    wan_dir: Path, tmp_path: Path, name: str, expert: str, parts: tuple[str, ...]
) -> None:
    from tests.deployments.tiny_wan import _transformer

    lora = _load(wan_dir, tmp_path, family="wan")
    layer = _transformer(16).get_submodule("blocks.0.attn1.to_q")
    assert isinstance(layer, torch.nn.Linear)
    down, up = torch.ones(2, layer.in_features), torch.ones(layer.out_features, 2)
    key = "diffusion_model.blocks.0.self_attn.q.lora_"
    lora.put(name, Made({f"{key}A.weight": down, f"{key}B.weight": up}))
    (adapter,) = lora.find(name, expert=expert)
    assert adapter.parts == parts
    assert adapter.layers == (1 if parts else 2)


def test_a_character_of_wan_is_looked_for_under_wans_name_first(wan_dir: Path, tmp_path: Path) -> None:
    lora = _load(wan_dir, tmp_path, family="wan")
    lora.put("wan-character-7", Made({"a": torch.ones(1)}))
    with pytest.raises(BadAdapter, match=r"wan-character-7\.safetensors"):
        lora.find("character-7")


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ({"model": "/nowhere/at/all"}, "weights.model"),
        ({"directories": ("/nowhere/at/all",)}, "weights.directories"),
    ],
)
def test_a_wrong_configuration_is_told_at_load(
    tiny_ltx2_dir: Path, tmp_path: Path, weights: dict[str, Any], field: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        _load(tiny_ltx2_dir, tmp_path, **weights)
    assert caught.value.field == field


def test_a_name_without_a_strength_gets_the_pipelines(lora: Loaded) -> None:
    lora.put("a", _made(seed=1))
    lora.put("b", _made(seed=2))
    assert [one.strength for one in lora.find("a,b@1.5", strength=0.65)] == [0.65, 1.5]
