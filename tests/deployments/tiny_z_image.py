"""A tiny Z-Image of random weights (3 MB), built without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.deployments.tiny_autoencoder import autoencoder
from tests.deployments.tiny_qwen_text import tokenizer

if TYPE_CHECKING:
    import torch

_WIDTH = 32


def build(directory: Path, seed: int = 0) -> Path:
    """Write a tiny Z-Image as a diffusers directory and return ``directory``. Takes under a second."""
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, ZImagePipeline

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokens = tokenizer()
        pipeline = ZImagePipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=autoencoder(),
            text_encoder=_text_encoder(len(tokens)).eval(),
            tokenizer=tokens,
            transformer=_transformer().eval(),
        )
    pipeline.save_pretrained(directory)
    return directory


def _text_encoder(words: int) -> torch.nn.Module:
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(
        vocab_size=words,
        hidden_size=_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
    )
    encoder: torch.nn.Module = Qwen3Model(config)
    return encoder


def _transformer() -> torch.nn.Module:
    import torch
    from diffusers import ZImageTransformer2DModel

    transformer: torch.nn.Module = ZImageTransformer2DModel(
        all_patch_size=(2,),
        all_f_patch_size=(1,),
        in_channels=16,
        dim=64,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=_WIDTH,
        axes_dims=[4, 6, 6],
        axes_lens=[1024, 512, 512],
    )
    with torch.no_grad():  # what fills sequences up is not drawn by the constructor
        for name in ("x_pad_token", "cap_pad_token"):
            transformer.get_parameter(name).normal_(std=0.02)
    return transformer
