"""The outlook of an attempt: where its latents are going, seen part-way, and what is given up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from deployments.generate.wan import Wan
from deployments.nets.early_abort import EarlyAbort, check_early_abort
from deployments.nets.outlook import Look, Outlook, Sight, estimate, judge, look_of, seen, unpacked
from deployments.nets.progress import on_step
from serve_app.core.errors import InvalidInput, Rejected, StageFailed
from serve_app.core.media import Grid, VideoShape
from tests.deployments.desk import DeskContext

SHAPE = (1, 4, 3, 16, 24)
STEPS = 8


def smooth(seed: int) -> torch.Tensor:
    """Return latents of a picture that stays, with layout and detail, of deviation about 1."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 4, 1, 4, 6, generator=generator).expand(-1, -1, 3, -1, -1)
    layout = torch.nn.functional.interpolate(coarse, size=SHAPE[2:], mode="trilinear")
    return layout + 0.3 * torch.randn(SHAPE, generator=generator)


class Denoising:
    """A flow-matching loop towards ``goal`` with diffusers' own scheduler, watched as a pipeline is."""

    def __init__(self, goal: torch.Tensor, inverted: bool = False) -> None:
        self.goal, self.sign = goal, -1 if inverted else 1
        self.scheduler = FlowMatchEulerDiscreteScheduler(invert_sigmas=inverted)
        self.scheduler.set_timesteps(sigmas=[1 - index / STEPS for index in range(STEPS)])
        self.num_timesteps = STEPS
        self.latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
        self.steps = 0

    def run(self, outlook: Outlook, **tensors: torch.Tensor) -> list[Sight | None]:
        noise, sights = self.latents, []
        for index, timestep in enumerate(self.scheduler.timesteps):
            velocity = self.sign * (noise - self.goal)
            self.latents = self.scheduler.step(velocity, timestep, self.latents, return_dict=False)[0]
            self.steps = index + 1
            sights.append(outlook.see(self, index, {"latents": self.latents, **tensors}))
        return sights


@pytest.mark.parametrize("inverted", [False, True])
def test_where_the_latents_go_is_known_from_one_step(inverted: bool) -> None:
    goal = smooth(1)
    denoising = Denoising(goal, inverted)
    sights = denoising.run(Outlook(Look(0.5, condition="condition")), condition=goal)
    assert torch.allclose(denoising.latents, goal, atol=1e-4)
    assert [sight is None for sight in sights] == [True] * 3 + [False] * 5, "it begins at half of the steps"
    spread = float((goal[0] - goal[0].mean(dim=(2, 3), keepdim=True)).square().mean().sqrt())
    for sight in sights[3:]:
        assert sight is not None
        assert sight.spread == pytest.approx(spread, abs=0.02)
        assert sight.relation == pytest.approx(1, abs=1e-3)


def test_an_estimate_is_exact_for_a_straight_line() -> None:
    goal, noise = smooth(1), torch.randn(SHAPE)
    before, after = 0.2 * goal + 0.8 * noise, 0.4 * goal + 0.6 * noise
    assert torch.allclose(estimate(before, after, (0.8, 0.6)), goal, atol=1e-5)


@pytest.mark.parametrize(
    ("goal", "reason"),
    [
        (torch.full(SHAPE, 0.7), "nothing is on it"),
        (0.01 * smooth(1), "nothing is on it"),
        (30 * smooth(1), "it has blown up"),
        (smooth(2), "its start shows nothing of the picture"),
    ],
)
def test_a_hopeless_attempt_is_given_up_before_half_of_its_steps_are_wasted(goal: torch.Tensor, reason: str) -> None:
    denoising = Denoising(goal)
    with pytest.raises(Rejected, match=reason) as caught:
        denoising.run(Outlook(Look(0.5, condition="condition")), condition=smooth(1))
    assert caught.value.detector == "early_abort"
    assert denoising.steps == STEPS // 2


def test_a_flat_picture_may_become_a_flat_clip() -> None:
    flat = 0.03 * smooth(1)
    sights = Denoising(flat).run(Outlook(Look(0.5, condition="condition")), condition=flat)
    assert sights[-1] is not None


def test_without_a_picture_only_what_is_on_it_counts() -> None:
    assert Denoising(smooth(3)).run(Outlook(Look(0.5)))[-1] is not None
    with pytest.raises(Rejected, match="nothing is on it"):
        Denoising(torch.zeros(SHAPE)).run(Outlook(Look(0.5)))


def test_a_number_that_is_not_finite_is_given_up_at_once() -> None:
    goal = smooth(1)
    goal[0, 0, 0, 0, 0] = float("nan")
    denoising = Denoising(goal)
    with pytest.raises(Rejected, match="no finite numbers"):
        denoising.run(Outlook(Look(0.5)))
    assert denoising.steps == 1


def test_nothing_is_looked_at_while_there_is_nothing_but_noise() -> None:
    pipeline = SimpleNamespace(scheduler=SimpleNamespace(sigmas=[1.0, 0.99, 0.98, 0.0]), num_timesteps=3)
    outlook = Outlook(Look(0.0))
    for index in range(2):
        assert outlook.see(pipeline, index, {"latents": torch.zeros(SHAPE)}) is None


def test_a_held_first_frame_is_the_picture_and_not_part_of_what_is_made() -> None:
    goal = smooth(1)
    sight = seen(goal[0], goal[0, :, 0], 1)
    assert sight.relation is not None
    assert sight.relation > 0.9
    goal[0, :, 1:] = 0.5
    with pytest.raises(Rejected, match="nothing is on it"):
        judge(seen(goal[0], goal[0, :, 0], 1), 3)


def test_packed_latents_are_seen_as_frames() -> None:
    latents = smooth(1)
    tokens = latents[0].permute(1, 2, 3, 0).reshape(1, -1, 4)
    assert torch.equal(unpacked(3, 16, 24)(tokens), latents[0])
    look = look_of(0.5, Grid(spatial=32, temporal=8), VideoShape(17, 512, 768), has_image=True)
    assert look is not None
    assert torch.equal(look.view(tokens), latents[0])
    assert look.first == 1


def test_what_was_seen_is_noted(tmp_path: Path) -> None:
    desk = DeskContext(tmp_path)
    pipeline = SimpleNamespace(scheduler=SimpleNamespace(sigmas=[0.8, 0.6, 0.4, 0.0]), num_timesteps=3)
    told = on_step(desk, "generate.x", Outlook(Look(0.0)))
    for index, level in enumerate((0.6, 0.4)):
        told(pipeline, index, torch.tensor(0), {"latents": (1 - level) * smooth(1)})
    assert desk.notes["early_abort"]["step"] == 2
    assert desk.notes["early_abort"]["spread"] > 0.5


def test_where_to_begin_is_refused_while_it_is_off() -> None:
    for params in (EarlyAbort(), EarlyAbort(early_abort="on", early_abort_at=0.2)):
        check_early_abort(params)
    with pytest.raises(InvalidInput, match="early_abort_at: has an effect only with early_abort on"):
        Wan.plan(Wan.Params(early_abort_at=0.3))
    assert EarlyAbort().abort_from is None
    assert EarlyAbort(early_abort="on").abort_from == 0.5


def test_without_it_a_number_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {"latents": torch.tensor([float("nan")])}
    with pytest.raises(StageFailed, match="not a finite number"):
        on_step(DeskContext(tmp_path), "generate.x")(SimpleNamespace(num_timesteps=1), 0, torch.tensor(0), tensors)
