"""The callback after every step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from deployments.nets.progress import on_step
from serve_app.core.errors import Cancelled, StageError
from tests.deployments.desk import DeskContext

PIPELINE = SimpleNamespace(num_timesteps=4)


def test_a_step_is_counted_and_its_tensors_are_handed_back(tmp_path: Path) -> None:
    desk, tensors = DeskContext(tmp_path), {"latents": torch.zeros(2)}
    assert on_step(desk, "generate.x")(PIPELINE, 2, torch.tensor(500), tensors) is tensors
    assert desk.steps == [(3, 4)]


def test_a_cancelled_run_ends_inside_the_callback(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        on_step(DeskContext(tmp_path, cancel_after=1), "generate.x")(
            PIPELINE, 0, torch.tensor(0), {"latents": torch.zeros(1)}
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_not_counted(tmp_path: Path, value: float) -> None:
    desk = DeskContext(tmp_path)
    with pytest.raises(StageError, match=r"generate\.x .* step 1 holds a value that is not a finite number"):
        on_step(desk, "generate.x")(PIPELINE, 0, torch.tensor(0), {"latents": torch.tensor([1.0, value])})
    assert desk.steps == []
