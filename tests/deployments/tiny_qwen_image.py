"""A tiny Qwen-Image of random weights (2 MB), and Lightning adapters for it, built without a download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deployments.tiny_qwen_text import tokenizer

if TYPE_CHECKING:
    import torch

BLOCKS = 2
TARGETS = (
    *("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0"),
    *("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"),
    *("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2"),
)
"""What the real adapter changes in each of its 60 blocks: 720 modules."""

_WIDTH = 32


def build(directory: Path, seed: int = 0) -> Path:
    """Write a tiny Qwen-Image as a diffusers directory and return ``directory``. Takes under a second."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, QwenImagePipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokens = tokenizer()
        pipeline = QwenImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True,
                base_shift=0.5,
                max_shift=0.9,
                shift_terminal=0.02,
                shift=1.0,
                base_image_seq_len=256,
                max_image_seq_len=8192,
                time_shift_type="exponential",
            ),
            vae=_autoencoder().eval(),
            text_encoder=_text_encoder(tokens).eval(),
            tokenizer=tokens,
            transformer=_transformer().eval(),
        )
    pipeline.save_pretrained(directory)
    return directory


def adapter(transformer: torch.nn.Module, rank: int = 2, seed: int = 1, alpha: float = 1.0) -> dict[str, torch.Tensor]:
    """Return a Lightning adapter for ``transformer`` in the layout of the published one: no prefix, with alphas."""
    import torch

    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for block in range(BLOCKS):
        for target in TARGETS:
            name = f"transformer_blocks.{block}.{target}"
            out, into = transformer.get_parameter(f"{name}.weight").shape
            tensors[f"{name}.lora_down.weight"] = torch.randn(rank, into, generator=random) * 0.3
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, rank, generator=random) * 0.3
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def save(tensors: Mapping[str, torch.Tensor], file: Path) -> Path:
    """Write ``tensors`` as safetensors and return ``file``."""
    from safetensors.torch import save_file

    save_file(dict(tensors), file)
    return file


def _text_encoder(tokens: Any) -> torch.nn.Module:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    number = tokens.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokens),
        "hidden_size": _WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        "rope_theta": 1e6,
    }
    # Qwen2.5-VL is a vision model: the part that Qwen-Image never uses has to exist all the same.
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": _WIDTH}
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
    )
    encoder: torch.nn.Module = Qwen2_5_VLForConditionalGeneration(config)
    return encoder


def _autoencoder() -> torch.nn.Module:
    import torch
    from diffusers import AutoencoderKLQwenImage

    vae: torch.nn.Module = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 16,
        latents_std=[1.0] * 16,
    )
    with torch.no_grad():  # without it every picture is as good as blank, and a gate would turn it away
        vae.get_parameter("decoder.conv_out.weight").mul_(20)
    return vae


def _transformer() -> torch.nn.Module:
    from diffusers import QwenImageTransformer2DModel

    transformer: torch.nn.Module = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=64,
        out_channels=16,
        num_layers=BLOCKS,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=_WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(4, 6, 6),
    )
    return transformer
