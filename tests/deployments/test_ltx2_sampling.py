"""The sigma tables, guidance knobs and version traits of LTX-2, as numbers."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest

from deployments.nets.ltx2_sampling import (
    DISTILLED_SIGMAS,
    TRAITS,
    UNGUIDED,
    Version,
    check_stg_blocks,
    check_version,
    guidance_of,
    is_trained_fps,
    reference_sigmas,
    sigmas_of,
)
from serve_app.core.errors import Misconfigured


def test_ten_reference_sigmas_are_the_authors_list_for_4096_tokens() -> None:
    published = [1, 0.9764, 0.9477, 0.9123, 0.8675, 0.8088, 0.7286, 0.6127, 0.43, 0.1]
    assert reference_sigmas(10) == pytest.approx(published, abs=5e-5)


def test_eight_steps_of_distilled_weights_are_the_distilled_table() -> None:
    from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES

    assert sigmas_of(8, is_distilled=True) == DISTILLED_SIGMAS == tuple(DISTILLED_SIGMA_VALUES)


def test_eight_steps_of_other_weights_are_the_reference_list() -> None:
    assert sigmas_of(8, is_distilled=False) == reference_sigmas(8) != DISTILLED_SIGMAS


@pytest.mark.parametrize("steps", [1, 2, 8, 10, 40, 200])
@pytest.mark.parametrize("is_distilled", [True, False])
def test_sigmas_fall_from_one_and_never_reach_zero(steps: int, is_distilled: bool) -> None:
    sigmas = sigmas_of(steps, is_distilled)
    assert len(sigmas) == steps
    assert sigmas[0] == 1
    assert all(before > after for before, after in pairwise(sigmas))
    assert sigmas[-1] >= 0.0999


def test_guidance_one_switches_all_eight_knobs_off() -> None:
    assert asdict(guidance_of(1.0)) == {
        "guidance_scale": 1.0,
        "stg_scale": 0.0,
        "modality_scale": 1.0,
        "guidance_rescale": 0.0,
        "audio_guidance_scale": 1.0,
        "audio_stg_scale": 0.0,
        "audio_modality_scale": 1.0,
        "audio_guidance_rescale": 0.0,
    }
    assert guidance_of(1.0).is_off
    assert UNGUIDED.evaluations == 1


def test_guidance_above_one_is_the_authors_defaults_with_that_scale() -> None:
    guided = guidance_of(4.5)
    assert (guided.guidance_scale, guided.stg_scale, guided.modality_scale, guided.guidance_rescale) == (4.5, 1, 3, 0.7)
    assert (guided.audio_guidance_scale, guided.audio_stg_scale, guided.audio_modality_scale) == (7, 1, 3)
    assert guided.evaluations == 4
    assert not guided.is_off


@pytest.mark.parametrize(("blocks", "named"), [((29,), "29"), ((2, -1), "-1"), ((), "none")])
def test_stg_blocks_that_do_not_exist_are_refused(blocks: tuple[int, ...], named: str) -> None:
    with pytest.raises(Misconfigured, match=f"weights.stg_blocks: {named} of the transformer's blocks 0 to 3"):
        check_stg_blocks(blocks, layers=4)


def test_versions_differ_in_cross_timestep_stg_block_and_image_crf() -> None:
    facts = {name: (one.uses_cross_timestep, one.stg_blocks, one.image_crf) for name, one in TRAITS.items()}
    assert facts == {"2.0": (False, (29,), 33), "2.3": (True, (28,), 33), "2.5": (True, (28,), 18)}


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("2.0", {"cross_attn_mod": False, "ff_bias": True}),
        ("2.0", {}),
        ("2.3", {"cross_attn_mod": True, "ff_bias": True}),
        ("2.5", {"cross_attn_mod": True, "ff_bias": False}),
    ],
)
def test_a_version_is_read_from_the_weights(version: Version, config: dict[str, Any]) -> None:
    check_version(version, config)
    others: list[Version] = [other for other in TRAITS if other != version]
    for other in others:
        with pytest.raises(Misconfigured, match=f"weights.version: these are weights of LTX-{version}"):
            check_version(other, config)


@pytest.mark.parametrize("fps", [24, 25, 30, 60, Fraction(24000, 1001), Fraction(60000, 1001)])
def test_trained_rates_and_their_ntsc_kin_are_known(fps: int | Fraction) -> None:
    assert is_trained_fps(Fraction(fps))


@pytest.mark.parametrize("fps", [12, 48, 50, 120])
def test_other_rates_are_not_trained(fps: int) -> None:
    assert not is_trained_fps(Fraction(fps))
