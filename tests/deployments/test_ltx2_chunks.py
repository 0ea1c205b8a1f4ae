"""`generate.ltx2` with `decode: chunks`: nearly the same frames, the same sound, and less at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.deployments.loaded_ltx2 import LoadedLtx2, load


def test_chunks_make_nearly_the_same_frames_and_the_same_sound(
    ltx2: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path
) -> None:
    chunked = load(tiny_ltx2_dir, tmp_path, decode="chunks")
    seen: list[int] = []
    handle = chunked.part.vae.decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2]))
    whole, parts = ltx2.make(frames=121, steps=1), chunked.make(frames=121, steps=1)
    handle.remove()
    assert seen == [11, 9]
    assert whole.shape == parts.shape
    assert 0 < np.sqrt(np.mean((whole.frames.astype(float) - parts.frames) ** 2)) / 127.5 < 0.06
    assert whole.audio is not None
    assert parts.audio is not None
    assert np.array_equal(whole.audio.samples, parts.audio.samples)
    assert [one.desk.notes["ltx2"]["decode"] for one in (ltx2, chunked)] == ["full", "chunks"]


def test_a_clip_within_one_chunk_is_the_same_to_the_bit(ltx2: LoadedLtx2, tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    chunked = load(tiny_ltx2_dir, tmp_path, decode="chunks")
    assert np.array_equal(ltx2.make(frames=25).frames, chunked.make(frames=25).frames)
