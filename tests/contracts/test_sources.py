"""Whatever a stage may read from the hub is known before it is loaded, and the tables of adapters are the code's."""

from __future__ import annotations

from typing import Any

import pytest

import deployments
from serve_app.commands.adapter_files import BEGIN, END, adapter_files
from serve_app.core.source import HubFile, HubModel, sources_of
from tests.contracts.documents import ROOT

FILE = "owner/name/file.safetensors"


def _weights(stage: Any, field: str) -> Any:
    """Return the stage's weights with ``field`` naming something on the hub, and what else they require."""
    given: dict[str, Any] = {field: FILE if field == "lightning" else "owner/name"}
    for name, info in stage.Weights.model_fields.items():
        if info.is_required() and name != field:
            given[name] = "owner/other"
    return stage.Weights.model_construct(**given)


FIELDS = [
    (name, field)
    for name in deployments.names()
    for field, info in deployments.locate(name).Weights.model_fields.items()  # type: ignore[attr-defined]
    if "hub" in (info.description or "") and info.annotation in (str, str | None) and "revision" not in field
]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_what_may_come_from_the_hub_is_among_the_stages_sources(name: str, field: str) -> None:
    found = sources_of(_weights(deployments.locate(name), field))
    assert any(isinstance(each, HubModel | HubFile) and each.repo == "owner/name" for each in found)


def test_the_generators_are_among_those_that_are_looked_at() -> None:
    assert {"generate.ltx2", "generate.qwen_image", "adapt.lora"} <= {name for name, _ in FIELDS}


def test_the_tables_of_the_adapters_page_are_what_the_code_says() -> None:
    page = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
    made = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert made == adapter_files("###").strip()
