"""Documents that cannot rot: what they name exists, and what exists is named."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pydantic import BaseModel

import deployments
from serve_app import environment
from serve_app.__main__ import COMMANDS
from serve_app.commands import demo
from serve_app.commands.local import Local
from serve_app.commands.reference import EVENTS, RUN_CODES, STATES, reference
from serve_app.config import AppConfig, plan_alone
from serve_app.core import errors
from serve_app.core.errors import GreenlightError
from serve_app.graph.spec import find_pipeline, parse_pipeline
from serve_app.http.routes import TABLE
from serve_app.runs.model import RunState
from serve_app.runs.store import ABANDONED
from serve_app.serving.strict import problems_in
from tests.contracts.documents import PAGES, ROOT, blocks, prose

README, DOCS = ROOT / "README.md", ROOT / "docs"
REFERENCE = DOCS / "reference.md"
STRANGE = r"/work\b|/root\b|/tmp\b|/home/|\blab/|shared/|\bissue #?\d|\bTODO\b|\bFIXME\b"
"""Paths of a machine, and words that mean nothing to a reader."""


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_reference_is_what_the_code_says() -> None:
    assert text(REFERENCE) == reference(), "run: greenlight reference > docs/reference.md"


@pytest.mark.parametrize("name", deployments.names())
def test_every_stage_is_in_the_reference(name: str) -> None:
    assert f"\n### {name}\n" in text(REFERENCE)


def test_every_error_code_is_in_the_reference() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, GreenlightError)]
    for code in (*(kind.code for kind in kinds), ABANDONED, *RUN_CODES):
        assert f"| `{code}` |" in text(REFERENCE)


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{prefix}{name}.")


@pytest.mark.parametrize("field", list(fields_of(AppConfig)))
def test_every_field_of_the_configuration_is_in_the_reference_with_a_meaning(field: str) -> None:
    row = next(line for line in text(REFERENCE).splitlines() if line.startswith(f"| `{field}` |"))
    assert row.rsplit("|", 2)[1].strip(), "it has no description"


@pytest.mark.parametrize("name", environment.NAMES)
def test_every_environment_variable_is_in_the_reference(name: str) -> None:
    assert f"| `{name}` |" in text(REFERENCE)


def test_every_run_state_has_a_meaning() -> None:
    assert set(STATES) == set(RunState)


def test_every_kind_of_event_is_described_and_no_other() -> None:
    said = set()
    for path in (ROOT / "serve_app" / "runs").glob("*.py"):
        for node in ast.walk(ast.parse(text(path))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "say":
                said |= {each.value for each in node.args[:1] if isinstance(each, ast.Constant)}
    assert said == set(EVENTS)


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: f"{entry.method} {entry.path}")
def test_every_route_is_in_the_reference_and_explained(entry: Any) -> None:
    assert f"| {entry.method} | `{entry.path}` |" in text(REFERENCE)
    assert f"| `{entry.method} {entry.path}` |" in text(DOCS / "http.md")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_is_shown_somewhere(command: Any) -> None:
    name = command.__name__.rpartition(".")[2].replace("_", "-")
    assert any(re.search(rf"greenlight {name}\b|make {name}\b", text(page)) for page in PAGES)


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        headings = (
            [slug(line.lstrip("#")) for line in text(file).splitlines() if line.startswith("#")] if anchor else []
        )
        assert not anchor or anchor in headings, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_module_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`((?:serve_app|deployments|tests|bench|docs)/[\w/.-]*)`", prose(page)):
        is_example = name in ("deployments/judge/sharpness.py",)
        assert is_example or (ROOT / name).exists(), name
    for module in re.findall(r"python -m ([\w.]+)", text(page)):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_yaml_is_what_it_claims_to_be(page: Path) -> None:
    for block in blocks(page, "yaml"):
        document = yaml.safe_load(block.text)
        if "version" in document or "nodes" in document:
            spec = parse_pipeline(document, page.name)
            if all(node.use in deployments.names() for node in spec.nodes.values()):
                plan_alone(spec)
        elif "applications" in document:
            is_example = document["applications"][0]["args"]["pipelines"] == ["sharp.yaml"]  # checked by its own test
            assert is_example or not list(problems_in(document))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_speaks_of_somebody_elses_machine(page: Path) -> None:
    assert not re.findall(STRANGE, text(page))


def test_every_dependency_has_its_reason_in_the_readme() -> None:
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    declared = [re.match(r"[\w-]+(\[\w+\])?", each) for each in project["dependencies"]]
    table = text(README).partition("## Dependencies")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([^`]+)` \| \S", table, re.MULTILINE) == [each[0] for each in declared if each]


def test_the_readme_shows_a_part_of_the_shipped_pipeline() -> None:
    block = blocks(README, "yaml")[0]
    assert block.text in text(ROOT / "serve_app" / "pipelines" / "animatic-fidelity.yaml")


def test_the_readme_tells_the_demos_prompt() -> None:
    assert f'"{demo.INPUTS["prompt"]}"' in text(README)


def test_the_picture_in_the_readme_is_the_sheet_that_the_demo_leaves(tmp_path: Path) -> None:
    """When this fails: make demo, look at outputs/*/sheet.png, and copy it to docs/images/demo_sheet.png."""
    spec = find_pipeline(demo.PIPELINE).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec |= {"version": 1, "name": "sheet-alone", "outputs": {"sheet": "sheet"}, "policy": {}}
    spec["nodes"] = {name: spec["nodes"][name] for name in ("draft", "judge", "sheet")}
    spec["inputs"] = {name: spec["inputs"][name] for name in ("prompt", "image", "seed", "frames", "fps", "strength")}
    file = tmp_path / "sheet.yaml"
    file.write_text(yaml.safe_dump(spec))
    local = Local(AppConfig(pipelines=(str(file),), directory=tmp_path / "home"), {})
    run_id = local.submit("sheet-alone", demo.INPUTS, {})
    assert list(local.follow(run_id))[-1].kind == "succeeded"
    local.fetch(run_id, "sheet", tmp_path / "sheet.png")
    local.close()
    shown, made = (
        np.asarray(Image.open(path)).astype(int) for path in (DOCS / "images/demo_sheet.png", tmp_path / "sheet.png")
    )
    assert shown.shape == made.shape
    assert np.abs(shown - made).mean() < 0.5
