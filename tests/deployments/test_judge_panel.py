"""Several judges at one gate."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from deployments.gate.verdict import VerdictGate
from deployments.judge.panel import Panel
from serve_app.core.errors import Rejected
from serve_app.core.media import Clip
from serve_app.core.score import Checkpoint, Finding, Score, Series, Verdict
from tests.deployments.desk import DeskContext
from tests.metrics.clips import FPS


def said(judge: str, verdict: Verdict, points: float, detector: str = "blur") -> Score:
    finding = Finding(detector, verdict, 1.5, "levels", f"{judge} says {verdict.word}", 3)
    checkpoints = (Checkpoint(0, 1.0, "levels", "OK"),) if judge == "video" else ()
    series = (Series("luma", "black", "levels", "lowest", (0,), (90.0,)),)
    return Score(judge, points, verdict.name, (finding,), checkpoints, {"luma": points}, series)


@pytest.fixture
def desk(tmp_path: Path) -> DeskContext:
    return DeskContext(tmp_path)


@pytest.fixture
def panel(desk: DeskContext) -> Panel:
    stage = Panel()
    stage.load(Panel.Weights(), desk)
    return stage


def test_the_worst_verdict_and_the_fewest_points_count(panel: Panel) -> None:
    score = panel.run(
        Panel.Params(),
        score=said("video", Verdict.PASS, 95),
        second=said("learned", Verdict.FAIL, 60, "taste"),
        third=said("words", Verdict.WARN, 90, "likeness"),
    )
    assert (score.judge, score.verdict, score.label) == ("panel", Verdict.FAIL, "FAIL")
    assert score.points == 49
    assert [found.detector for found in score.findings] == ["blur", "taste", "likeness"]
    assert score.worst is not None
    assert score.worst.reason == "learned says fail"


def test_two_content_judges_leave_the_fewest_points(panel: Panel) -> None:
    score = panel.run(Panel.Params(), score=said("video", Verdict.PASS, 95), second=said("learned", Verdict.PASS, 80))
    assert (score.verdict, score.points) == (Verdict.PASS, 80)


def test_measures_and_plots_carry_their_judges_name_and_none_is_lost(panel: Panel) -> None:
    one, two = said("video", Verdict.PASS, 95), said("video", Verdict.PASS, 80)
    score = panel.run(Panel.Params(), score=one, second=two)
    assert score.measures == {"video.points": 95, "video.luma": 95, "video_2.points": 80, "video_2.luma": 80}
    assert [each.measure for each in score.series] == ["video.luma", "video_2.luma"]
    assert {each.measure for each in score.series} <= score.measures.keys()
    assert score.checkpoints == one.checkpoints


def test_an_advisory_judge_warns_and_does_not_decide(panel: Panel, desk: DeskContext) -> None:
    params = Panel.Params(advisory=("second",))
    good, bad = said("video", Verdict.PASS, 95), said("learned", Verdict.REJECT, 0)
    score = panel.run(params, score=good, second=bad)
    assert (score.verdict, score.points) == (Verdict.WARN, 74)
    panel.run(Panel.Params(advisory=("fourth",)), score=good, second=good)
    assert desk.warnings == ["advisory names fourth, to which nothing is connected"]


def test_a_gate_turns_away_what_any_of_the_panel_fails(panel: Panel, desk: DeskContext) -> None:
    gate = VerdictGate()
    gate.load(VerdictGate.Weights(), desk)
    clip = Clip(np.zeros((2, 4, 4, 3), np.uint8), Fraction(FPS), "test")
    score = panel.run(Panel.Params(), score=said("video", Verdict.PASS, 95), second=said("learned", Verdict.FAIL, 9))
    with pytest.raises(Rejected, match="learned says fail"):
        gate.run(VerdictGate.Params(), clip=clip, score=score)
