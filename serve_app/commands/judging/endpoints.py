"""One small request to a pipeline that is served, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve_app.commands.followed import Followed
from serve_app.commands.judging.examiner import Examiner
from serve_app.commands.judging.judgement import Judgement
from serve_app.commands.profile import PROFILES
from serve_app.core.errors import GreenlightError, InvalidInput

PROMPT = "a portrait of a woman in a studio, natural light, professional photography, sharp details"
SEED = 42
_PHOTO = PROFILES / "demo.jpg"
_FILM_FRAMES, _FILM_PX = 12, (256, 256)


@dataclass(frozen=True)
class Asked:
    """One request: to which ``pipeline``, with which ``inputs``; its work may take ``budget_s`` seconds."""

    pipeline: str
    inputs: Mapping[str, Any]
    budget_s: float


@dataclass(frozen=True)
class Answered:
    """What came back: the run's ``state`` (or ``unanswered``), the judged files, and ``error`` where it failed."""

    pipeline: str
    state: str
    seconds: float
    usd: float | None = None
    run_id: str | None = None
    error: str = ""
    judgements: tuple[Judgement, ...] = field(default=())

    @property
    def word(self) -> str:
        """``error`` when it did not succeed, else the run's rejection or the worst verdict of its files."""
        if self.state not in ("succeeded", "rejected"):
            return "error"
        words = ["reject"] if self.state == "rejected" else []
        words += [judgement.word for judgement in self.judgements]
        ranks = ("pass", "warn", "fail", "reject", "error")
        return max(words, key=ranks.index, default="pass")

    def as_json(self) -> dict[str, Any]:
        """Return everything but the files' own judgements, which a report lists by themselves."""
        named = [judgement.name for judgement in self.judgements]
        return {**vars(self), "judgements": named, "verdict": self.word}


def request_for(pipeline: Mapping[str, Any], folder: Path, budget_s: float) -> Asked:
    """Return a request with the pipeline's defaults; what has none is a portrait, its photo, and a short film of it.

    Raises InvalidInput for a required number without a minimum: no value of it would mean anything.
    """
    inputs: dict[str, Any] = {}
    for name, spec in pipeline["inputs"].items():
        if spec["type"] == "seed":
            inputs[name] = SEED
        elif spec["required"]:
            inputs[name] = _value(f"{pipeline['name']}.{name}", spec, folder)
    return Asked(pipeline["name"], inputs, budget_s)


def _value(name: str, spec: Mapping[str, Any], folder: Path) -> Any:
    match spec["type"]:
        case "text":
            return PROMPT
        case "image":
            return _PHOTO
        case "clip":
            return _film(folder)
        case "integer" | "number" if spec.get("minimum") is not None:
            minimum = spec["minimum"]
            return int(minimum) if spec["type"] == "integer" else minimum
    raise InvalidInput(name, f"is required, and this check knows no {spec['type']} for it")


def _film(folder: Path) -> Path:
    """Write a slow pan over the photo, as an animation."""
    from PIL import Image

    photo = Image.open(_PHOTO).convert("RGB")
    wide, tall = _FILM_PX
    frames = [photo.crop((step, 0, step + wide, tall)) for step in range(_FILM_FRAMES)]
    path = folder / "film.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=42, quality=90)
    return path


def ask(followed: Followed, asked: Asked, folder: Path, examiner: Examiner) -> Answered:
    """Send one request, fetch what it made into ``folder`` and judge it. Raises nothing for what the server says."""
    began = time.monotonic()
    run_id, state, error = None, "unanswered", ""
    try:
        run_id = followed.submit(asked.pipeline, asked.inputs, {"attempts": 1, "budget_s": asked.budget_s})
        for happening in followed.follow(run_id):
            if happening.is_final:
                state, error = happening.kind, (happening.data.get("error") or {}).get("detail", "")
        if state not in ("succeeded", "rejected"):
            return Answered(asked.pipeline, state, _since(began), None, run_id, error)
        report = followed.report(run_id)
        seconds = _since(began)
        judgements = _judged(followed, report, folder, examiner)
    except GreenlightError as problem:
        return Answered(asked.pipeline, state, _since(began), None, run_id, str(problem))
    return Answered(asked.pipeline, state, seconds, report["cost"]["usd"], run_id, error, judgements)


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _judged(followed: Followed, report: Mapping[str, Any], folder: Path, examiner: Examiner) -> tuple[Judgement, ...]:
    """Judge every picture and video that the run left; a contact sheet is evidence, not an output."""
    found = []
    for name, artifact in {**report["evidence"], **report["outputs"]}.items():
        is_seen = artifact["media_type"].startswith(("image/", "video/"))
        if not is_seen or "judge" in artifact.get("facts", {}):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{Path(artifact['name']).suffix}"
        followed.fetch(report["run"], name, path)
        found.append(examiner.judge(path, lambda done, of: None))
    return tuple(found)
