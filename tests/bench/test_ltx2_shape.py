"""The bench of LTX-2's shape: it runs on a CPU with a tiny one, and says no where there is no GPU for the real one."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel

from bench import ltx2_shape


def test_the_tiny_shape_prints_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert ltx2_shape.main(["--tiny"]) == 0
    torch._dynamo.reset()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    cases = [(line["case"].split()[-1], line.get("steps")) for line in lines]
    assert cases == [("eager", 8), ("eager", 10), ("compile", None), ("compiled", 8), ("compiled", 10)]
    assert all(line["is_finite"] for line in lines if "steps" in line)


def test_the_real_shape_is_that_of_the_published_weights() -> None:
    with torch.device("meta"):
        net = LTX2VideoTransformer3DModel(**ltx2_shape.REAL.config)
    assert sum(parameter.numel() for parameter in net.parameters()) == pytest.approx(18.88e9, rel=0.001)
    count, rows, columns = ltx2_shape.REAL.grid
    assert count * rows * columns == 11_960
    assert ltx2_shape.REAL.sound == 101


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_real_shape_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert ltx2_shape.main([]) == 2
    assert "no CUDA device" in capsys.readouterr().err
