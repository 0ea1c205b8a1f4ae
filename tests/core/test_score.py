"""What a judge says."""

from __future__ import annotations

import json

from serve_app.core.score import Checkpoint, Finding, Score, Verdict


def finding(verdict: Verdict, name: str) -> Finding:
    return Finding(name, verdict, 1.5, "levels", "because", frame=3, warn_at=1.0, fail_at=2.0)


def test_the_verdict_is_the_worst_of_all_findings() -> None:
    findings = (finding(Verdict.PASS, "black"), finding(Verdict.FAIL, "frozen"), finding(Verdict.WARN, "fidelity"))
    score = Score("fidelity", 49.0, "FAIL", findings)
    assert score.verdict is Verdict.FAIL
    assert score.worst is findings[1]


def test_nothing_found_is_a_pass() -> None:
    score = Score("fidelity", 100.0, "EXCELLENT", ())
    assert score.verdict is Verdict.PASS
    assert score.worst is None


def test_a_score_is_json_with_units_thresholds_and_words() -> None:
    score = Score("fidelity", 74.0, "WARN", (finding(Verdict.WARN, "fidelity"),), (Checkpoint(0, 1.0, "levels", "OK"),))
    said = json.loads(json.dumps(score.as_json(), allow_nan=False))
    assert said["verdict"] == "warn"
    assert said["findings"][0] == {
        "detector": "fidelity",
        "verdict": "warn",
        "value": 1.5,
        "unit": "levels",
        "reason": "because",
        "frame": 3,
        "warn_at": 1.0,
        "fail_at": 2.0,
    }
    assert said["checkpoints"] == [{"frame": 0, "value": 1.0, "unit": "levels", "label": "OK"}]
