"""Decoding in chunks of time: where frames lie, how far they are from those of the whole clip, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deployments.nets.vae_stream import CHUNKS, ChunkedDecode, Chunks, stream_decode
from tests.deployments import tiny_ltx2, tiny_ltx_video
from tests.deployments.live_bytes import LiveBytes

_CUTS = (CHUNKS, Chunks(64, 40))


@pytest.fixture(scope="module", params=["LTX-2", "LTX-Video", "LTX-Video, with a timestep"])
def vae(request: pytest.FixtureRequest) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "LTX-2":
            return tiny_ltx2._video_vae().eval()
        return tiny_ltx_video.vae("timestep" if "timestep" in request.param else "plain")


def _latents(count: int) -> torch.Tensor:
    return torch.randn(1, 16, count, 3, 4, generator=torch.Generator().manual_seed(0))


def _temb(vae: Any) -> torch.Tensor | None:
    return torch.tensor([0.05]) if vae.config.timestep_conditioning else None


def _whole(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        frames: torch.Tensor = vae.decode(latents, _temb(vae), return_dict=False)[0]
    return frames


def _framewise(vae: Any, latents: torch.Tensor, chunks: Chunks) -> torch.Tensor:
    """Return what diffusers' own option makes of the same chunks."""
    vae.use_framewise_decoding = True
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = chunks.length, chunks.length - chunks.overlap
    try:
        return _whole(vae, latents)
    finally:
        vae.use_framewise_decoding = False


def _rms(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).pow(2).mean().sqrt())


@pytest.mark.parametrize("chunks", _CUTS)
def test_chunks_are_near_the_whole_where_diffusers_are_not(vae: Any, chunks: Chunks) -> None:
    latents = _latents(13)
    whole = _whole(vae, latents)
    parts = torch.cat(list(stream_decode(vae, latents, _temb(vae), chunks)), dim=2)
    signal = float(whole.pow(2).mean().sqrt())
    assert parts.shape == whole.shape
    assert 0.3 < signal < 0.4
    assert _rms(parts, whole) < 0.2 * signal
    assert _rms(_framewise(vae, latents, chunks), whole) > 0.5 * signal


@pytest.mark.parametrize(("chunks", "bound"), [(CHUNKS, 0.045), (Chunks(64, 40), 0.036)])
def test_ltx_2_is_within_the_bound_that_was_measured(chunks: Chunks, bound: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = tiny_ltx2._video_vae().eval()
    latents = _latents(13)
    whole = _whole(vae, latents)
    assert float(whole.pow(2).mean().sqrt()) == pytest.approx(0.339, abs=0.002)
    assert _rms(torch.cat(list(stream_decode(vae, latents, None, chunks)), dim=2), whole) < bound


@pytest.mark.parametrize("chunks", _CUTS)
def test_frames_lie_where_they_do_in_the_whole_where_diffusers_are_early(vae: Any, chunks: Chunks) -> None:
    """After the first chunk, frame by frame: the nearest frame of the whole clip is the same one, not the next."""
    latents = _latents(13)
    whole = _whole(vae, latents)
    parts = torch.cat(list(stream_decode(vae, latents, _temb(vae), chunks)), dim=2)
    early = _framewise(vae, latents, chunks)
    first = chunks.length - chunks.overlap + 1
    inside = slice(first + chunks.overlap, first + chunks.overlap + 8)
    assert _shift(parts, whole, inside) == 0
    assert _shift(early, whole, inside) == -1


def _shift(frames: torch.Tensor, whole: torch.Tensor, inside: slice) -> int:
    """Return by how many frames `frames` have to be moved to fit `whole` best."""
    wanted = frames[:, :, inside]
    fits = {step: _rms(wanted, whole[:, :, inside.start + step : inside.stop + step]) for step in (-2, -1, 0, 1)}
    return min(fits, key=lambda step: fits[step])


@pytest.mark.parametrize("count", [1, 2, 10, 11, 12, 18, 25])
def test_every_frame_is_made_once(vae: Any, count: int) -> None:
    parts = list(stream_decode(vae, _latents(count), _temb(vae)))
    assert sum(part.shape[2] for part in parts) == 8 * (count - 1) + 1
    if count <= 11:
        assert torch.equal(torch.cat(parts, dim=2), _whole(vae, _latents(count)))


def test_the_first_chunk_is_there_before_the_second_is_begun(vae: Any) -> None:
    seen = _largest(vae)
    stream = stream_decode(vae, _latents(25), _temb(vae))
    assert next(stream).shape[2] == 57
    assert seen == [11]
    seen.handle.remove()


def _peak_bytes(vae: Any, count: int, in_chunks: bool) -> int:
    latents = _latents(count)
    with LiveBytes() as live:
        if in_chunks:
            for _ in stream_decode(vae, latents, _temb(vae)):
                pass
        else:
            _whole(vae, latents)
    peak: int = live.peak
    return peak


def test_peak_memory_is_that_of_a_chunk_however_long_the_clip_where_the_whole_grows_with_it(vae: Any) -> None:
    """Measured on what is alive at once, not on shapes: 137, 249 and 473 frames."""
    in_chunks = [_peak_bytes(vae, count, in_chunks=True) for count in (18, 32, 60)]
    assert max(in_chunks) <= 1.02 * min(in_chunks)
    whole = [_peak_bytes(vae, count, in_chunks=False) for count in (32, 60)]
    assert whole[1] > 1.7 * whole[0]
    assert max(in_chunks) < 0.4 * whole[1]


def test_no_more_is_decoded_at_once_than_a_chunk_and_a_latent(vae: Any) -> None:
    seen = _largest(vae)
    list(stream_decode(vae, _latents(40), _temb(vae)))
    assert max(seen) == 11
    _whole(vae, _latents(40))
    assert max(seen) == 40
    seen.handle.remove()


class _Seen(list[int]):
    handle: Any


def _largest(vae: Any) -> _Seen:
    """Return a list that gets the number of latents of every call of the decoder."""
    seen = _Seen()
    seen.handle = vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2]))
    return seen


@pytest.mark.parametrize(("length", "overlap"), [(24, 24), (16, -8)])
def test_chunks_that_cannot_be_cut_are_refused(length: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="cannot share"):
        Chunks(length, overlap)


def test_chunks_off_the_autoencoders_grid_are_refused(vae: Any) -> None:
    with pytest.raises(ValueError, match="not multiples of 8"):
        next(stream_decode(vae, _latents(2), _temb(vae), Chunks(20, 8)))


def test_it_can_stand_where_decode_does(vae: Any) -> None:
    latents = _latents(13)
    expected = torch.cat(list(stream_decode(vae, latents, _temb(vae))), dim=2)
    chunked = ChunkedDecode(vae)
    (undecoded,) = chunked(latents, _temb(vae), return_dict=False)
    assert torch.equal(torch.cat(list(undecoded), dim=2), expected)
    with pytest.raises(ValueError, match="as a tuple"):
        chunked(latents, return_dict=True)
