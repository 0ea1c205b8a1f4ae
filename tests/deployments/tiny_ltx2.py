"""A tiny LTX-2 of random weights (1.5 M parameters, 7 MB) with the geometry of the real one, built without a download.

The real one's autoencoders fold 32x32x8 px and 640 sound samples into a latent, its vocoder makes 240 samples of a
spectrogram column and its connectors fill prompts up to multiples of 128. Only widths and depths are smaller here, so
that every rule about sizes, counts, sounds and prompts holds as it does for 19 billion parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LAYERS = 4
"""Blocks of the tiny transformer: the real one has 48, so the published STG blocks (28, 29) do not exist here."""

_HIDDEN = 64
_TEXT_LAYERS = 3
_HEADS = 4
_VIDEO_WIDTH = _HEADS * 16
_AUDIO_WIDTH = _HEADS * 8
_VIDEO_LATENTS = 16
_AUDIO_LATENTS = 2
_MEL_BINS = 16
_AUDIO_TOKEN = _AUDIO_LATENTS * _MEL_BINS // 4
_LETTERS = "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'\"-()"


@dataclass(frozen=True)
class _Version:
    is_gated: bool
    """2.3 and 2.5: gated attention, per-modality projections, a vocoder for 48 kHz."""
    is_newest: bool
    """2.5: no biases in the feed-forward layers, an embedding of keyframe positions."""


def build(directory: Path, version: str = "2.0", seed: int = 0) -> Path:
    """Write a tiny LTX-2 of ``version`` ("2.0", "2.3", "2.5") as a diffusers directory and return ``directory``.

    Less than a second once diffusers is imported. The same ``seed`` gives the same weights.
    """
    import torch
    from diffusers import LTX2Pipeline

    traits = _Version(is_gated=version != "2.0", is_newest=version == "2.5")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer, vocabulary = _tokenizer()
        pipeline = LTX2Pipeline(
            scheduler=_development_scheduler(),
            vae=_video_vae().eval(),
            audio_vae=_audio_vae().eval(),
            text_encoder=_text_encoder(vocabulary).eval(),
            tokenizer=tokenizer,
            connectors=_connectors(traits).eval(),
            transformer=_transformer(traits).eval(),
            vocoder=_vocoder(traits).eval(),
        )
    pipeline.save_pretrained(directory)
    return directory


def build_upsampler(
    directory: Path, channels: int = _VIDEO_LATENTS, scale: float = 2.0, is_temporal: bool = False
) -> Path:
    """Write a tiny latent upsampler as a diffusers directory and return ``directory``; the defaults fit `build`'s."""
    import torch
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LTX2LatentUpsamplerModel(
            in_channels=channels,
            mid_channels=32,
            num_blocks_per_stage=1,
            spatial_upsample=not is_temporal,
            temporal_upsample=is_temporal,
            rational_spatial_scale=scale,
        )
    model.save_pretrained(directory)
    return directory


def _development_scheduler() -> Any:
    """Return the scheduler of the undistilled weights, which warps any sigmas that are handed to it."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        shift_terminal=0.1,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
    )


def _tokenizer() -> tuple[Any, dict[str, int]]:
    """Return a Gemma tokenizer that spells any UTF-8 text in letters and bytes, and its vocabulary."""
    from transformers import GemmaTokenizer

    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    words += [f"<0x{byte:02X}>" for byte in range(256)]
    words += list(_LETTERS)
    words += ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    return GemmaTokenizer(vocab=vocabulary, merges=[], model_max_length=1024), vocabulary


def _text_encoder(vocabulary: dict[str, int]) -> torch.nn.Module:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {
        "vocab_size": len(vocabulary),
        "hidden_size": _HIDDEN,
        "num_hidden_layers": _TEXT_LAYERS,
        "intermediate_size": 2 * _HIDDEN,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "sliding_window": 256,
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": 2,
    }
    # Gemma-3 is a vision model: the part that LTX-2 never uses has to exist all the same.
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        boi_token_index=vocabulary["<start_of_image>"],
        eoi_token_index=vocabulary["<end_of_image>"],
        image_token_index=vocabulary["<image_soft_token>"],
    )
    encoder: torch.nn.Module = Gemma3ForConditionalGeneration(config)
    return encoder


def _connectors(traits: _Version) -> torch.nn.Module:
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    connectors: torch.nn.Module = LTX2TextConnectors(
        caption_channels=_HIDDEN,
        text_proj_in_factor=_TEXT_LAYERS + 1,
        rope_type="split",
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=128,
        video_connector_num_attention_heads=_HEADS,
        video_connector_attention_head_dim=16,
        video_gated_attn=traits.is_gated,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=128,
        audio_connector_num_attention_heads=_HEADS,
        audio_connector_attention_head_dim=8 if traits.is_gated else 16,
        audio_gated_attn=traits.is_gated,
        per_modality_projections=traits.is_gated,
        proj_bias=traits.is_gated,
        video_hidden_dim=_VIDEO_WIDTH,
        audio_hidden_dim=_AUDIO_WIDTH,
    )
    return connectors


def _transformer(traits: _Version) -> torch.nn.Module:
    from diffusers import LTX2VideoTransformer3DModel

    transformer: torch.nn.Module = LTX2VideoTransformer3DModel(
        num_layers=LAYERS,
        in_channels=_VIDEO_LATENTS,
        out_channels=_VIDEO_LATENTS,
        num_attention_heads=_HEADS,
        attention_head_dim=16,
        cross_attention_dim=_VIDEO_WIDTH,
        audio_in_channels=_AUDIO_TOKEN,
        audio_out_channels=_AUDIO_TOKEN,
        audio_num_attention_heads=_HEADS,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=_AUDIO_WIDTH,
        caption_channels=_HIDDEN,
        rope_type="split",
        gated_attn=traits.is_gated,
        cross_attn_mod=traits.is_gated,
        audio_gated_attn=traits.is_gated,
        audio_cross_attn_mod=traits.is_gated,
        use_prompt_embeddings=not traits.is_gated,
        perturbed_attn=traits.is_gated,
        ff_bias=not traits.is_newest,
        use_keyframes_abs_pos_embedding=traits.is_newest,
    )
    return transformer


def _video_vae() -> torch.nn.Module:
    from diffusers import AutoencoderKLLTX2Video

    # Without the two ratios the class would work out 64x64x16 from these blocks, which are laid out as the real ones.
    vae: torch.nn.Module = AutoencoderKLLTX2Video(
        latent_channels=_VIDEO_LATENTS,
        block_out_channels=(16, 16, 32, 32),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        encoder_causal=True,
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    return vae


def _audio_vae() -> torch.nn.Module:
    from diffusers import AutoencoderKLLTX2Audio

    vae: torch.nn.Module = AutoencoderKLLTX2Audio(
        base_channels=_AUDIO_TOKEN,
        output_channels=2,
        ch_mult=(1, 2, 4),
        num_res_blocks=1,
        in_channels=2,
        resolution=32,
        latent_channels=_AUDIO_LATENTS,
        mel_bins=_MEL_BINS,
    )
    return vae


def _vocoder(traits: _Version) -> torch.nn.Module:
    from diffusers.pipelines.ltx2 import LTX2Vocoder, LTX2VocoderWithBWE

    vocoder: torch.nn.Module
    if not traits.is_gated:
        vocoder = LTX2Vocoder(
            in_channels=2 * _MEL_BINS, hidden_channels=64, resnet_kernel_sizes=[3], resnet_dilations=[[1, 3]]
        )
        return vocoder
    vocoder = LTX2VocoderWithBWE(
        in_channels=2 * _MEL_BINS,
        hidden_channels=64,
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3]],
        bwe_in_channels=2 * _MEL_BINS,
        bwe_hidden_channels=32,
        bwe_resnet_kernel_sizes=[3],
        bwe_resnet_dilations=[[1, 3]],
        num_mel_channels=_MEL_BINS,
    )
    return vocoder
