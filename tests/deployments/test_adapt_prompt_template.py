"""The template: what it adds, for whom, and that it can be told to add nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from deployments.adapt.prompt_template import Family, PromptTemplate, Subject
from tests.deployments.desk import DeskContext

PROMPT = "Portrait of a young woman, soft studio lighting"


def run(root: Path, prompt: str, family: Family, subject: Subject) -> tuple[str, DeskContext]:
    desk, stage = DeskContext(root), PromptTemplate()
    stage.load(PromptTemplate.Weights(), desk)
    return stage.run(PromptTemplate.Params(family=family, subject=subject), prompt=prompt), desk


@pytest.mark.parametrize(
    ("family", "subject", "tail"),
    [
        ("flux", "portrait", ", natural makeup, professional photography, sharp details"),
        ("flux", "scene", ", professional photography, sharp details"),
        ("qwen_image", "portrait", ", natural makeup, professional photography, sharp details, 8k"),
        ("qwen_image", "scene", ", professional photography, sharp details, 8k"),
        ("z_image", "portrait", ", natural makeup, professional photography, sharp details, 8k"),
        ("z_image", "scene", ", professional photography, sharp details, 8k"),
    ],
)
def test_the_templates(tmp_path: Path, family: Family, subject: Subject, tail: str) -> None:
    assert run(tmp_path, PROMPT, family, subject)[0] == PROMPT + tail


@pytest.mark.parametrize("family", ["flux", "qwen_image", "z_image"])
def test_without_a_subject_nothing_is_added(tmp_path: Path, family: Family) -> None:
    assert run(tmp_path, "A fox. ", family, "none")[0] == "A fox. "


def test_nothing_is_added_twice(tmp_path: Path) -> None:
    given = "A face, Natural Makeup, 8K"
    assert run(tmp_path, given, "z_image", "portrait")[0] == f"{given}, professional photography, sharp details"


def test_a_full_stop_does_not_end_up_in_the_middle(tmp_path: Path) -> None:
    assert run(tmp_path, "A fox in snow. ", "flux", "scene")[0].startswith("A fox in snow, professional")


def test_the_original_is_kept(tmp_path: Path) -> None:
    full, desk = run(tmp_path, PROMPT, "flux", "scene")
    added = ["professional photography", "sharp details"]
    assert desk.notes == {"prompt_template": {"original": PROMPT, "added": added, "prompt": full}}


def test_a_family_that_nobody_measured_is_refused() -> None:
    with pytest.raises(ValidationError):
        PromptTemplate.Params(family="mochi")
