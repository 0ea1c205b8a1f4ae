"""Early abort in every family of clips, on tiny weights: what is looked at is theirs, and NaN gives the attempt up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployments.generate.mochi import Mochi
from serve_app.core.errors import Rejected
from tests.deployments import loaded_ltx2, loaded_ltx_video, loaded_wan, tiny_ltx2, tiny_ltx_video, tiny_mochi, tiny_wan
from tests.deployments.desk import DeskContext
from tests.deployments.loaded_ltx2 import picture, replaced
from tests.deployments.loaded_video import LoadedVideo

pytestmark = pytest.mark.filterwarnings("ignore:(?s).*CPU Autocast only supports:UserWarning")


def ltx2(root: Path) -> Any:
    return loaded_ltx2.load(tiny_ltx2.build(root / "weights"), root)


def ltx_video(root: Path) -> Any:
    return loaded_ltx_video.load(tiny_ltx_video.build(root / "weights"), root)


def wan(variant: str) -> Callable[[Path], Any]:
    return lambda root: loaded_wan.load(tiny_wan.build(root / "weights", variant), root, variant)


def mochi(root: Path) -> Any:
    context, stage = DeskContext(root), Mochi()
    stage.load(Mochi.Weights(model=str(tiny_mochi.build(root / "weights"))), context)
    return LoadedVideo(stage, context, Mochi.Params(width=32, height=32, frames=7, steps=4))


FAMILIES = {
    "ltx2": (ltx2, True),
    "ltx_video": (ltx_video, True),
    "wan t2v": (wan("t2v-a14b"), False),
    "wan i2v": (wan("i2v-a14b"), True),
    "wan ti2v": (wan("ti2v-5b"), True),
    "mochi": (mochi, False),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_it_looks_at_the_latents_and_the_picture_of_every_family(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are random, so what it thinks of them means nothing: nothing is hopeless enough here."""
    load, takes_picture = FAMILIES[family]
    monkeypatch.setattr("deployments.nets.outlook.LEAST_RELATED", -2.0)
    monkeypatch.setattr("deployments.nets.outlook.FLATTEST", 0.0)
    monkeypatch.setattr("deployments.nets.outlook.STEEPEST", float("inf"))
    made = load(tmp_path)
    image = {"image": picture(64, 64)} if takes_picture else {}
    plain = made.make(**image, steps=8)
    watched = made.make(**image, steps=8, early_abort="on", early_abort_at=0.25)
    seen = made.desk.notes["early_abort"]
    assert (watched.frames == plain.frames).all(), "looking changes nothing"
    assert seen["step"] == 8
    assert seen["spread"] > 0
    assert (seen["relation"] is not None) is takes_picture


@pytest.mark.parametrize("family", ["ltx_video", "ltx2"])
def test_an_attempt_that_is_not_finite_is_rejected_not_failed(family: str, tmp_path: Path) -> None:
    made = FAMILIES[family][0](tmp_path)
    part = made.stage._pipelines.from_text.transformer.proj_out
    with replaced(part.weight, float("nan")), pytest.raises(Rejected, match=r"early_abort.*no finite numbers"):
        made.make(early_abort="on")
