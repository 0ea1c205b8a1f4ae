"""`generate.ltx2` with `decode: chunks`: nearly the same frames, the same sound, and less at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deployments.generate.ltx2 import Ltx2
from tests.deployments.loaded_ltx2 import SMALL, LoadedLtx2, load


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


def test_chunks_come_as_they_are_decoded_and_make_the_clip_of_a_run(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    chunked = load(tiny_ltx2_dir, tmp_path, decode="chunks")
    params = Ltx2.Params(**{**SMALL.model_dump(), "frames": 121, "steps": 1})
    decoded: list[int] = []
    handle = chunked.part.vae.decoder.register_forward_pre_hook(lambda _, args: decoded.append(args[0].shape[2]))
    seen = [(piece, len(decoded)) for piece in chunked.stage.stream(params, prompt="a fox", seed=1)]
    handle.remove()
    assert [count for _, count in seen] == [1, 2], "the second chunk is decoded after the first was given away"
    whole = chunked.stage.run(params, prompt="a fox", seed=1)
    assert np.array_equal(np.concatenate([piece.frames for piece, _ in seen]), whole.frames)
    assert sum(piece.shape.frames for piece, _ in seen) == chunked.stage.length(params)
    assert [piece.audio is not None for piece, _ in seen] == [True, False]


def test_a_stream_that_is_broken_off_leaves_the_stage_free(tiny_ltx2_dir: Path, tmp_path: Path) -> None:
    chunked = load(tiny_ltx2_dir, tmp_path, decode="chunks")
    params = Ltx2.Params(**{**SMALL.model_dump(), "frames": 121, "steps": 1})
    pieces = chunked.stage.stream(params, prompt="a fox", seed=1)
    next(iter(pieces))
    pieces.close()  # type: ignore[attr-defined]
    assert chunked.make(frames=9, steps=1).shape.frames == 9
