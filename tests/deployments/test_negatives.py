"""The list of 28 keywords: word for word, behind the caller's own, and said to be inert where it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.generate.ltx2 import Ltx2
from deployments.generate.ltx_video import LtxVideo
from deployments.generate.mochi import Mochi
from deployments.generate.wan import Wan
from deployments.nets.negatives import FIDELITY, Negatives
from serve_app.config import plan_alone
from serve_app.core.errors import InvalidInput
from serve_app.graph.spec import find_pipeline
from tests.deployments.loaded_ltx2 import LoadedLtx2
from tests.deployments.test_early_abort import ltx_video, mochi, wan

TEXT = (
    "different person, different face, morphing, warping, distortion, wobbling, melting, ripple effect, "
    "face collapse, global motion, jelly effect, unstable, inconsistent, deformed face, displaced features, "
    "changing appearance, liquid effect, wave distortion, plastic skin, cartoonish, low quality, oversaturated, "
    "blurry, artificial, fake, synthetic, CG, rendered"
)
PIPELINES = (
    "ltx2-fidelity-1080p",
    "ltx2-lora-1080p",
    "ltx2-two-stage-1080p",
    "ltx-video-fidelity-1080p",
    "wan-fidelity-1080p",
    "mochi-fidelity",
)

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*CPU Autocast only supports:UserWarning")


def test_the_list_is_28_keywords_word_for_word() -> None:
    assert len(FIDELITY) == len(set(FIDELITY)) == 28
    assert ", ".join(FIDELITY) == TEXT


@pytest.mark.parametrize(
    ("own", "listed", "expected"),
    [
        (None, "none", ""),
        ("rain", "none", "rain"),
        (" rain ", "none", " rain "),
        (None, "fidelity", TEXT),
        ("", "fidelity", TEXT),
        (" ", "fidelity", TEXT),
        ("rain", "fidelity", f"rain, {TEXT}"),
    ],
)
def test_it_goes_behind_the_callers_own(own: str | None, listed: Any, expected: str) -> None:
    assert Negatives(negative_prompt=own, negatives=listed).avoided == expected


@pytest.mark.parametrize("family", [Ltx2, LtxVideo, Mochi, Wan])
def test_every_family_of_clips_offers_it_and_says_so(family: Any) -> None:
    assert issubclass(family.Params, Negatives)
    assert "behind the caller's own" in family.mapping["negatives"]


@pytest.mark.parametrize("name", PIPELINES)
def test_every_shipped_pipeline_of_clips_takes_it(name: str) -> None:
    plan = plan_alone(find_pipeline(name))
    given = {"prompt": "a fox", "seed": 7}
    assert plan.bind(given).params["draft"].model_dump()["negatives"] == "none"
    assert plan.bind({**given, "negatives": "fidelity"}).params["draft"].model_dump()["negatives"] == "fidelity"
    with pytest.raises(InvalidInput, match=r"inputs\.negatives"):
        plan.bind({**given, "negatives": "all"})


def test_under_guidance_it_is_the_negative_prompt(ltx2: LoadedLtx2) -> None:
    listed = ltx2.make(guidance=3.0, negative_prompt="rain", negatives="fidelity")
    facts = ltx2.desk.notes["ltx2"]
    assert (facts["negatives"], facts["negative_prompt"]) == ("fidelity", f"rain, {TEXT}")
    written = ltx2.make(guidance=3.0, negative_prompt=f"rain, {TEXT}")
    plain = ltx2.make(guidance=3.0, negative_prompt="rain")
    assert listed.frames.tobytes() == written.frames.tobytes()
    assert listed.frames.tobytes() != plain.frames.tobytes()


def test_at_guidance_one_each_of_the_two_is_said_to_be_inert(ltx2: LoadedLtx2) -> None:
    plain = ltx2.make(frames=1, steps=8, fps=24)
    listed = ltx2.make(frames=1, steps=8, fps=24, negatives="fidelity", negative_prompt="rain")
    assert listed.frames.tobytes() == plain.frames.tobytes()
    assert ltx2.desk.warnings == [
        "negative_prompt has no effect at guidance 1",
        "negatives has no effect at guidance 1",
    ]
    assert ltx2.desk.notes["ltx2"]["negative_prompt"] is None


@pytest.mark.parametrize(
    ("load", "note"),
    [(ltx_video, "ltx_video"), (wan("t2v-a14b"), "wan"), (mochi, "mochi")],
    ids=lambda one: str(one)[:9],
)
def test_the_other_families_note_it_and_warn_of_it(load: Any, note: str, tmp_path: Path) -> None:
    made = load(tmp_path)
    made.make(guidance=3.0, negatives="fidelity")
    assert made.desk.notes[note]["negative_prompt"] == TEXT
    made.make(guidance=1.0, negatives="fidelity")
    assert "negatives has no effect at guidance 1" in made.desk.warnings
    assert made.desk.notes[note]["negatives"] == "fidelity"
