"""What each model family's authors call the layers that diffusers gives other names to. Tables, and nothing else.

A row is a layer of the diffusers model, and its name in the authors' code; ``{n}`` is a block's number, ``{x}`` any
part of a name. Several layers with one name in the authors' code are fused there, in the order of the rows.
Sources: the single-file conversions of diffusers 0.42, which read the authors' checkpoints: black-forest-labs/flux,
Lightricks/LTX-2, Lightricks/LTX-Video, Wan-Video/Wan2.2, Tongyi-MAI/Z-Image; Qwen-Image's names are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FamilyName = Literal["ltx2", "flux", "qwen-image", "z-image", "wan", "ltx-video"]


@dataclass(frozen=True)
class Family:
    """A base that adapters are made for."""

    title: str
    """For people: `LTX-2`."""
    renamed: tuple[tuple[str, str], ...]
    """The layer in diffusers, and its name in the authors' code."""
    parts: tuple[str, ...] = ("transformer",)
    """What of the pipeline an adapter may change."""
    swapped: tuple[str, ...] = ()
    """Layers whose two halves of outputs stand the other way round in the authors' code."""
    experts: tuple[str, ...] = ()
    """Parts that are alike, of which an adapter may be for one alone: the high-noise one first."""
    prefixes: tuple[str, ...] = ("",)
    """What a file of `character-{id}` may begin with, by convention, in the order in which they are looked for."""


_FLUX = (
    ("x_embedder", "img_in"),
    ("context_embedder", "txt_in"),
    ("time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"),
    ("time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"),
    ("time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"),
    ("time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"),
    ("time_text_embed.text_embedder.linear_1", "vector_in.in_layer"),
    ("time_text_embed.text_embedder.linear_2", "vector_in.out_layer"),
    ("transformer_blocks.{n}.norm1.linear", "double_blocks.{n}.img_mod.lin"),
    ("transformer_blocks.{n}.norm1_context.linear", "double_blocks.{n}.txt_mod.lin"),
    ("transformer_blocks.{n}.attn.to_q", "double_blocks.{n}.img_attn.qkv"),
    ("transformer_blocks.{n}.attn.to_k", "double_blocks.{n}.img_attn.qkv"),
    ("transformer_blocks.{n}.attn.to_v", "double_blocks.{n}.img_attn.qkv"),
    ("transformer_blocks.{n}.attn.to_out.0", "double_blocks.{n}.img_attn.proj"),
    ("transformer_blocks.{n}.attn.add_q_proj", "double_blocks.{n}.txt_attn.qkv"),
    ("transformer_blocks.{n}.attn.add_k_proj", "double_blocks.{n}.txt_attn.qkv"),
    ("transformer_blocks.{n}.attn.add_v_proj", "double_blocks.{n}.txt_attn.qkv"),
    ("transformer_blocks.{n}.attn.to_add_out", "double_blocks.{n}.txt_attn.proj"),
    ("transformer_blocks.{n}.ff.net.0.proj", "double_blocks.{n}.img_mlp.0"),
    ("transformer_blocks.{n}.ff.net.2", "double_blocks.{n}.img_mlp.2"),
    ("transformer_blocks.{n}.ff_context.net.0.proj", "double_blocks.{n}.txt_mlp.0"),
    ("transformer_blocks.{n}.ff_context.net.2", "double_blocks.{n}.txt_mlp.2"),
    ("single_transformer_blocks.{n}.norm.linear", "single_blocks.{n}.modulation.lin"),
    ("single_transformer_blocks.{n}.attn.to_q", "single_blocks.{n}.linear1"),
    ("single_transformer_blocks.{n}.attn.to_k", "single_blocks.{n}.linear1"),
    ("single_transformer_blocks.{n}.attn.to_v", "single_blocks.{n}.linear1"),
    ("single_transformer_blocks.{n}.proj_mlp", "single_blocks.{n}.linear1"),
    ("single_transformer_blocks.{n}.proj_out", "single_blocks.{n}.linear2"),
    ("norm_out.linear", "final_layer.adaLN_modulation.1"),
    ("proj_out", "final_layer.linear"),
)

_LTX_VIDEO = (
    ("proj_in", "patchify_proj"),
    ("time_embed.{x}", "adaln_single.{x}"),
    ("transformer_blocks.{x}.norm_q", "transformer_blocks.{x}.q_norm"),
    ("transformer_blocks.{x}.norm_k", "transformer_blocks.{x}.k_norm"),
)

_LTX2 = (
    *_LTX_VIDEO,
    ("audio_proj_in", "audio_patchify_proj"),
    ("audio_time_embed.{x}", "audio_adaln_single.{x}"),
    ("prompt_adaln.{x}", "prompt_adaln_single.{x}"),
    ("audio_prompt_adaln.{x}", "audio_prompt_adaln_single.{x}"),
    ("av_cross_attn_video_scale_shift.{x}", "av_ca_video_scale_shift_adaln_single.{x}"),
    ("av_cross_attn_audio_scale_shift.{x}", "av_ca_audio_scale_shift_adaln_single.{x}"),
    ("av_cross_attn_video_a2v_gate.{x}", "av_ca_a2v_gate_adaln_single.{x}"),
    ("av_cross_attn_audio_v2a_gate.{x}", "av_ca_v2a_gate_adaln_single.{x}"),
    ("text_proj_in", "text_embedding_projection.aggregate_embed"),
    ("video_text_proj_in", "text_embedding_projection.video_aggregate_embed"),
    ("audio_text_proj_in", "text_embedding_projection.audio_aggregate_embed"),
    ("video_connector.transformer_blocks.{x}", "video_embeddings_connector.transformer_1d_blocks.{x}"),
    ("audio_connector.transformer_blocks.{x}", "audio_embeddings_connector.transformer_1d_blocks.{x}"),
)

_WAN = (
    ("blocks.{n}.attn1.to_q", "blocks.{n}.self_attn.q"),
    ("blocks.{n}.attn1.to_k", "blocks.{n}.self_attn.k"),
    ("blocks.{n}.attn1.to_v", "blocks.{n}.self_attn.v"),
    ("blocks.{n}.attn1.to_out.0", "blocks.{n}.self_attn.o"),
    ("blocks.{n}.attn1.norm_{x}", "blocks.{n}.self_attn.norm_{x}"),
    ("blocks.{n}.attn2.to_q", "blocks.{n}.cross_attn.q"),
    ("blocks.{n}.attn2.to_k", "blocks.{n}.cross_attn.k"),
    ("blocks.{n}.attn2.to_v", "blocks.{n}.cross_attn.v"),
    ("blocks.{n}.attn2.to_out.0", "blocks.{n}.cross_attn.o"),
    ("blocks.{n}.attn2.add_k_proj", "blocks.{n}.cross_attn.k_img"),
    ("blocks.{n}.attn2.add_v_proj", "blocks.{n}.cross_attn.v_img"),
    ("blocks.{n}.attn2.norm_q", "blocks.{n}.cross_attn.norm_q"),
    ("blocks.{n}.attn2.norm_k", "blocks.{n}.cross_attn.norm_k"),
    ("blocks.{n}.attn2.norm_added_k", "blocks.{n}.cross_attn.norm_k_img"),
    ("blocks.{n}.norm2", "blocks.{n}.norm3"),
    ("blocks.{n}.ffn.net.0.proj", "blocks.{n}.ffn.0"),
    ("blocks.{n}.ffn.net.2", "blocks.{n}.ffn.2"),
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.image_embedder.norm1", "img_emb.proj.0"),
    ("condition_embedder.image_embedder.ff.net.0.proj", "img_emb.proj.1"),
    ("condition_embedder.image_embedder.ff.net.2", "img_emb.proj.3"),
    ("condition_embedder.image_embedder.norm2", "img_emb.proj.4"),
    ("proj_out", "head.head"),
)

_Z_IMAGE = (
    ("{x}.attention.to_q", "{x}.attention.qkv"),
    ("{x}.attention.to_k", "{x}.attention.qkv"),
    ("{x}.attention.to_v", "{x}.attention.qkv"),
    ("{x}.attention.to_out.0", "{x}.attention.out"),
    ("{x}.attention.norm_q", "{x}.attention.q_norm"),
    ("{x}.attention.norm_k", "{x}.attention.k_norm"),
    ("all_x_embedder.2-1", "x_embedder"),
    ("all_final_layer.2-1.{x}", "final_layer.{x}"),
)

FAMILIES: Mapping[FamilyName, Family] = {
    "ltx2": Family("LTX-2", _LTX2, parts=("transformer", "connectors")),
    "flux": Family("Flux.1", _FLUX, swapped=("norm_out.linear",)),
    "qwen-image": Family("Qwen-Image", (), prefixes=("qwen-", "")),
    "z-image": Family("Z-Image", _Z_IMAGE),
    "wan": Family(
        "Wan",
        _WAN,
        parts=("transformer", "transformer_2"),
        experts=("transformer", "transformer_2"),
        prefixes=("wan-", ""),
    ),
    "ltx-video": Family("LTX-Video", _LTX_VIDEO),
}

LOOKS = (
    ("Stable Diffusion", r"(down|up|input|output)_blocks[._]|mid_block|lora_te2_"),
    ("Flux.1", r"(double|single)_blocks[._]|single_transformer_blocks|ff_context"),
    ("Z-Image", r"(noise|context)_refiner|layers[._]\d+[._]attention|feed_forward[._]w[123]"),
    ("LTX-2", r"audio_(attn|ff|to_video|patchify|proj)|video_to_audio|[._]av_c"),
    ("Qwen-Image", r"(img|txt)_(mlp|mod)[._]"),
    ("Wan", r"blocks[._]\d+[._](self_attn|cross_attn|ffn)"),
    ("LTX-Video", r"transformer_blocks[._]\d+[._](attn[12]|ff)[._]"),
    ("Hunyuan Video", r"(double|single)_stream"),
)
"""What a file was probably made for, by names that occur nowhere else; only for saying so in an error."""
