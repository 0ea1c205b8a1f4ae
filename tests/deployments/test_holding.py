"""Every family held in every way: the same bits where nothing is rounded, and close where weights are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from deployments.nets import holding, loading
from deployments.nets.held import Options
from serve_app.core.errors import Misconfigured
from tests.deployments import (
    tiny_flux,
    tiny_ltx2,
    tiny_ltx_video,
    tiny_mochi,
    tiny_qwen_image,
    tiny_wan,
    tiny_z_image,
)

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*CPU Autocast only supports:UserWarning")

_PICTURE = {"width": 48, "height": 48}
_CLIP = {"width": 64, "height": 64}


@dataclass(frozen=True)
class Kind:
    """A family's pipeline, its tiny weights, its smallest call, and how far fp8 may be off: RMS of the signal's."""

    pipeline: Any
    build: Callable[[Path], Path]
    call: dict[str, Any]
    fp8: float


KINDS = {
    "flux": Kind(diffusers.FluxPipeline, tiny_flux.build, _PICTURE, 0.04),
    "ltx2": Kind(diffusers.LTX2Pipeline, tiny_ltx2.build, {**_CLIP, "num_frames": 9}, 0.2),
    "ltx-video": Kind(diffusers.LTXPipeline, tiny_ltx_video.build, {**_CLIP, "num_frames": 9}, 0.03),
    "mochi": Kind(diffusers.MochiPipeline, tiny_mochi.build, {**_CLIP, "num_frames": 7}, 0.05),
    "qwen-image": Kind(diffusers.QwenImagePipeline, tiny_qwen_image.build, _PICTURE, 0.03),
    "wan": Kind(diffusers.WanPipeline, tiny_wan.build, {**_CLIP, "num_frames": 5}, 0.01),
    "z-image": Kind(diffusers.ZImagePipeline, tiny_z_image.build, _PICTURE, 0.08),
}


@dataclass
class Family:
    """One of them: its weights, and what they make when nothing is asked of how they are held."""

    name: str
    kind: Kind
    weights: Path
    plain: npt.NDArray[np.float32]

    def held(self, options: Options) -> Any:
        """Return the pipeline, held as ``options`` say, with the CPU as the device to come and go from."""
        return _held(self.kind, self.weights, options)

    def make(self, options: Options) -> npt.NDArray[np.float32]:
        """Return what it makes."""
        return _make(self.kind, self.held(options))


def _held(kind: Kind, weights: Path, options: Options) -> Any:
    pipeline = kind.pipeline.from_pretrained(weights, local_files_only=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    checkpoint = loading.Checkpoint(
        model=str(weights), revision=None, dtype=torch.float32, device="cpu", options=options
    )
    loading.place(pipeline, checkpoint)
    return pipeline


def _make(kind: Kind, pipeline: Any) -> npt.NDArray[np.float32]:
    generator = torch.Generator().manual_seed(7)
    made = pipeline(prompt="a red fox", num_inference_steps=3, generator=generator, output_type="np", **kind.call)
    return np.asarray(made.images if hasattr(made, "images") else made.frames, np.float32)


@pytest.fixture(scope="module", params=KINDS)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    kind = KINDS[request.param]
    weights = kind.build(tmp_path_factory.mktemp(request.param) / "tiny")
    return Family(request.param, kind, weights, _make(kind, _held(kind, weights, Options())))


@pytest.mark.parametrize("blocks", [1, 2])
def test_blocks_that_come_and_go_make_the_same_bits(family: Family, blocks: int) -> None:
    assert np.array_equal(family.make(Options(offload="group", group_blocks=blocks)), family.plain)


def test_weights_in_fp8_take_less_and_make_nearly_the_same(family: Family) -> None:
    plain, narrow = family.held(Options()), family.held(Options(storage="fp8"))
    wide_bytes, narrow_bytes = (holding.bytes_of(one)["transformer"] for one in (plain, narrow))
    assert narrow_bytes < 0.7 * wide_bytes
    assert narrow.transformer.dtype is torch.float32  # what it computes in
    off = _make(family.kind, narrow) - family.plain
    assert 0 < np.sqrt(np.mean(off**2)) < family.kind.fp8 * family.plain.std()


def test_fp8_in_groups_is_fp8_to_the_bit(family: Family) -> None:
    narrow = family.make(Options(storage="fp8"))
    assert np.array_equal(family.make(Options(storage="fp8", offload="group")), narrow)


def test_native_attention_makes_the_same_bits_or_is_refused_where_nobody_asks(family: Family) -> None:
    if family.name == "mochi":
        with pytest.raises(Misconfigured, match=r"weights\.attention: MochiAttnProcessor2_0 does not ask"):
            family.held(Options(attention="native"))
        return
    assert np.array_equal(family.make(Options(attention="native")), family.plain)


def test_blocks_can_be_compiled_or_are_refused_where_diffusers_names_none(family: Family) -> None:
    """Whether they really run compiled is `test_warming`'s."""
    if family.name == "mochi":
        with pytest.raises(Misconfigured, match=r"weights\.compile: .*MochiTransformer3DModel"):
            family.held(Options(compile="blocks"))
        return
    pipeline = family.held(Options(compile="blocks"))
    assert [one for one in pipeline.transformer.modules() if one._compiled_call_impl is not None]


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux.build(tmp_path_factory.mktemp("flux") / "tiny")


@pytest.mark.parametrize(
    ("backend", "reason"),
    [("flash", "not to be had"), ("flesh", "not to be had"), ("sage", "not to be had"), ("flash_hub", "hub")],
)
def test_a_backend_that_is_not_here_is_refused_by_name(flux: Path, backend: str, reason: str) -> None:
    with pytest.raises(Misconfigured, match=rf"weights\.attention: .*{backend}.*{reason}"):
        _held(KINDS["flux"], flux, Options(attention=backend))


def test_one_models_backend_is_not_another_models(flux: Path) -> None:
    """diffusers makes the last backend that was set that of every model in the process which set none."""
    before, _ = _AttentionBackendRegistry.get_active_backend()
    pipeline = _held(KINDS["flux"], flux, Options(attention="_native_math"))
    assert _AttentionBackendRegistry.get_active_backend()[0] is before
    try:
        pipeline.transformer.set_attention_backend("_native_math")
        assert _AttentionBackendRegistry.get_active_backend()[0] is not before
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def test_a_stream_is_refused_where_there_are_none(flux: Path) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.group_stream: there are no streams on cpu"):
        _held(KINDS["flux"], flux, Options(offload="group", group_stream=True))


@pytest.mark.parametrize("offload", ["model", "group"])
def test_there_is_nowhere_to_offload_to_from_a_cpu(flux: Path, offload: str) -> None:
    checkpoint = loading.Checkpoint(
        model=str(flux),
        revision=None,
        dtype=torch.float32,
        device="cpu",
        options=Options.model_validate({"offload": offload}),
    )
    family = loading.Family(name="FLUX.1", pipeline=diffusers.FluxPipeline)
    with pytest.raises(Misconfigured, match=r"weights\.offload: there is nothing to move weights off on cpu"):
        loading.read(family, checkpoint)


def test_tiles_of_the_published_size_leave_a_seam_where_they_meet_and_the_rest_as_it_was() -> None:
    """LTX-2's decoder looks only so far around a pixel; one that norms over the whole picture differs everywhere."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae: Any = tiny_ltx2._video_vae().eval()
    latents = torch.randn(1, 16, 1, 4, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = vae.decode(latents, None, return_dict=False)[0]
        vae.enable_tiling()  # 512 px, of which 64 are shared
        tiled = vae.decode(latents, None, return_dict=False)[0]
    off = (tiled - whole).pow(2).mean(dim=(0, 1, 2, 3)).sqrt()
    assert float(off[:256].max()) < 1e-6
    assert float(off[704:].max()) < 1e-6
    assert 0 < float(off.mean()) < 0.12 * float(whole.std())
