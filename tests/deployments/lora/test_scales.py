"""Alpha over rank, from a tensor or from the configuration that diffusers writes into a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.nets.lora.header import Header, read_header
from deployments.nets.lora.scales import Scales


def _scales(**config: Any) -> Scales:
    return Scales(Header("x", {}, {"lora_adapter_metadata": json.dumps(config)} if config else {}, 0))


@pytest.mark.parametrize(
    ("config", "alpha", "scale"),
    [
        ({}, None, 1.0),
        ({}, 8.0, 0.5),
        ({"transformer.lora_alpha": 4}, None, 0.25),
        ({"lora_alpha": 4}, None, 0.25),
        ({"transformer.lora_alpha": 4, "transformer.use_rslora": True}, None, 1.0),
        ({"transformer.lora_alpha": 4, "transformer.alpha_pattern": {"attn.to_q": 32}}, None, 2.0),
        ({"transformer.lora_alpha": 4, "transformer.alpha_pattern": {"to_k": 32}}, None, 0.25),
        ({"text_encoder.lora_alpha": 4}, None, 1.0),
        ({"transformer.lora_alpha": 8}, 8.0, 0.5),
    ],
)
def test_the_scale_is_what_the_file_says(config: dict[str, Any], alpha: float | None, scale: float) -> None:
    assert _scales(**config).of("x", "transformer.blocks.0.attn.to_q", 16, alpha) == scale


def test_a_file_that_diffusers_saved_is_read_with_its_alpha(tmp_path: Path) -> None:
    """Without this, an adapter of alpha 8 and rank 4 would be applied at half of what it was trained for."""
    from diffusers import FluxPipeline
    from peft import LoraConfig, get_peft_model_state_dict

    from deployments.nets.lora.match import match
    from deployments.nets.lora.normal import Reader
    from tests.deployments.lora.bases import _build, base_of

    model: Any = _build("flux")["transformer"]
    model.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=["to_q"], init_lora_weights=False))
    FluxPipeline.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(model),
        transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    path = tmp_path / "pytorch_lora_weights.safetensors"
    header = read_header(path)
    for layer, changes in Reader(path, header, match(header, base_of("flux"))).changes():
        (change,) = changes
        assert change.pair is not None
        assert change.pair.scale == 2.0, layer.name
        peft_layer = model.get_submodule(change.path.removeprefix("transformer."))
        dense = change.pair.scale * change.pair.up @ change.pair.down
        assert torch.allclose(peft_layer.get_delta_weight("default"), dense, atol=1e-6)
