"""Renders at load: after them no request of a size waits for a compiler, whatever its prompt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deployments.nets import holding
from serve_app.core.errors import Misconfigured
from tests.deployments.loaded_ltx2 import picture
from tests.deployments.loaded_ltx_video import load
from tests.deployments.loaded_video import LoadedVideo
from tests.deployments.tiny_ltx_video import build


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("ltx-video") / "tiny", "plain")


@pytest.fixture
def compiled(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedVideo]:
    """Return a stage whose blocks are traced whole, by the compiler that runs the trace instead of building code."""
    monkeypatch.setattr(holding, "COMPILER", "eager")
    yield load(weights, tmp_path, compile="blocks", warm_up=("64x64x9",), adapters="baked")
    torch._dynamo.reset()


def _in_a_thread(made: list[Any], loaded: LoadedVideo, **call: Any) -> None:
    """Render as a server does: in another thread than the one that loaded."""

    def render() -> None:
        try:
            made.append(loaded.make(**call))
        except RuntimeError as error:
            made.append(error)

    thread = threading.Thread(target=render)
    thread.start()
    thread.join()


def test_the_first_request_compiles_nothing_and_another_size_would(
    compiled: LoadedVideo, weights: Path, tmp_path: Path
) -> None:
    plain, made = load(weights, tmp_path / "plain"), list[Any]()
    with torch.compiler.set_stance("fail_on_recompile"):
        _in_a_thread(made, compiled)
        _in_a_thread(made, compiled, prompt="two birds", image=picture(64, 64))
        _in_a_thread(made, compiled, width=96)
    assert np.array_equal(made[0].frames, plain.make().frames)
    assert np.array_equal(made[1].frames, plain.make(prompt="two birds", image=picture(64, 64)).frames)
    assert "recompile" in str(made[2])
    assert compiled.desk.notes["held"]["compile"] == "blocks"


def test_a_compiled_block_does_not_see_a_hook_that_came_later_and_sees_a_changed_weight(compiled: LoadedVideo) -> None:
    """Why unfused adapters are refused with compiled blocks, and baked ones are not."""
    before = compiled.make().frames
    layer = compiled.stage._pipelines.encoder.transformer.transformer_blocks[0].attn1.to_q
    hook = layer.register_forward_hook(lambda module, args, output: output + 5)
    assert np.array_equal(compiled.make().frames, before)
    hook.remove()
    with torch.no_grad():
        layer.weight.mul_(30)
    assert not np.array_equal(compiled.make().frames, before)


def test_more_variants_than_torch_allows_by_itself_are_compiled_in_any_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its limit is 8, set for each thread by itself; with `fullgraph` the ninth is an error."""
    monkeypatch.setattr(holding, "COMPILER", "eager")

    class Block(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block()

        def compile_repeated_blocks(self, **options: Any) -> None:
            self.block.compile(**options)

    net, made = Net(), list[Any]()
    holding.compile_blocks(net)

    def run() -> None:
        made.extend(net.block(torch.ones([2] * rank)).ndim for rank in range(1, 13))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    torch._dynamo.reset()
    assert made == list(range(1, 13))


def test_a_backend_that_fails_at_work_is_refused_at_load(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"weights\.attention: _native_cudnn does not work here"):
        load(weights, tmp_path, attention="_native_cudnn")


def test_nothing_is_rendered_where_nothing_needs_proof(weights: Path, tmp_path: Path) -> None:
    assert not load(weights, tmp_path, attention="native").desk.steps
    assert load(weights, tmp_path / "other", attention="_native_math").desk.steps
