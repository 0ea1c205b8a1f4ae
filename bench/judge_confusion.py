"""Which failures does the judge see, and what does it mind that it should not? `python -m bench.judge_confusion`

Every kind of labelled clip on pictures that no threshold was set on (`tests.metrics.clips`, the `test` set), through
the stage as it is served. One line per kind: the share that passed, was warned of, failed or rejected; how often the
right detector and frame were named; and the AUC against all legitimate clips, beside that of the classic rule, the
largest mean pixel difference at five checkpoints. Arguments:
the set, how many draws of each clip, `box` or `nobox`, a file for the numbers of every clip, and the subjects (all).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.record import emit
from deployments.judge.video import Video
from serve_app.core.media import Clip, Image
from serve_app.core.score import Finding, Score, Verdict
from tests.deployments.desk import DeskContext
from tests.metrics.clips import FAST, FPS, FURTHER, LEGIT, NAMES, SLOW, Labelled, clip
from tests.metrics.expected import is_named, is_placed
from tests.metrics.fields import Split

KINDS = (*LEGIT, *SLOW, *FAST, *FURTHER)
_BELOW = {"black", "blank", "blur"}
Row = dict[str, Any]


def severity(score: Score) -> float:
    """Return how far the worst finding is beyond (above 0) or within its WARN limit, as a logarithm."""
    return max(_severity(finding) for finding in score.findings)


def _severity(finding: Finding) -> float:
    limit = finding.warn_at if finding.warn_at is not None else finding.fail_at
    if finding.detector == "integrity" or not limit:
        return 5.0 * finding.verdict - 5.0
    is_floor = finding.detector in _BELOW or (finding.fail_at or limit) < limit
    ratio = max(finding.value, 1e-6) / limit
    return float(np.log(1 / ratio if is_floor else ratio))


def judged(stage: Video, made: Labelled, is_boxed: bool) -> Row:
    """Return everything about one clip."""
    params = Video.Params(face_box=made.subject.face if is_boxed else None)
    score = stage.run(params, clip=Clip(made.frames, Fraction(FPS), made.kind), image=Image(made.subject.pixels))
    worst = score.worst
    return {
        "kind": made.kind,
        "name": made.subject.name,
        "shows": made.shows,
        "verdict": score.verdict.word,
        "worst": worst.detector if worst and worst.verdict else None,
        "frame": worst.frame if worst else None,
        "raised": {f.detector: f.verdict.word for f in score.findings if f.verdict},
        "is_named": is_named(made, score),
        "is_placed": is_placed(made, score),
        "severity": severity(score),
        "points": score.points,
        **score.measures,
    }


def auc(legit: list[float], bad: list[float]) -> float:
    """Return the chance that a bad clip scores above a legitimate one."""
    a, b = np.array(legit), np.array(bad)[:, None]
    return float((b > a).mean() + 0.5 * (b == a).mean())


def report(rows: list[Row], case: str) -> None:
    """Write one line for the rows of one kind, or group."""
    legit = [row for row in rows if row["kind"] in LEGIT]
    by: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by[row["kind"]].append(row)
        by[next(name for name, kinds in GROUPS.items() if row["kind"] in kinds)].append(row)
    for kind, some in by.items():
        emit(
            "judge_confusion",
            case=f"{case} {kind}",
            clips=len(some),
            **{word.word: sum(row["verdict"] == word.word for row in some) / len(some) for word in Verdict},
            right_detector=sum(row["is_named"] for row in some) / len(some),
            right_frame=sum(row["is_placed"] for row in some) / len(some),
            auc=auc([row["severity"] for row in legit], [row["severity"] for row in some]),
            auc_pixel_rule=auc([row["pixel_diff_max"] for row in legit], [row["pixel_diff_max"] for row in some]),
        )


GROUPS = {"LEGITIMATE": LEGIT, "PLAIN": FAST, "CREEPING": SLOW, "FURTHER": FURTHER}


def main() -> None:
    """Judge every clip of a set."""
    words = [*sys.argv[1:], *("test", "1", "box", "", "")[len(sys.argv) - 1 :]]
    split, draws, is_boxed, file = cast(Split, words[0]), int(words[1]), words[2] == "box", words[3]
    stage, rows = Video(), []
    with tempfile.TemporaryDirectory() as directory:
        stage.load(Video.Weights(), DeskContext(Path(directory)))
        for draw in range(draws):
            for name in words[4].split(",") if words[4] else NAMES[split]:
                for kind in KINDS:
                    rows.append(judged(stage, clip(split, name, kind, draw), is_boxed))
                    if file:
                        Path(file).write_text(json.dumps(rows), encoding="utf-8")
    report(rows, f"{split} {words[2]}")


if __name__ == "__main__":
    main()
