"""Every generator says what it does with every parameter, in the words that mean the same everywhere."""

from __future__ import annotations

from typing import Any

import pytest

import deployments
from serve_app.commands import families
from serve_app.core.stage import contract_of

GENERATORS = [name for name in deployments.names() if name.startswith("generate.") and name != "generate.animatic"]


@pytest.mark.parametrize("name", GENERATORS)
def test_its_mapping_names_every_parameter_and_port(name: str) -> None:
    stage: Any = deployments.locate(name)
    ports = set(contract_of(name, stage).ports) - {"prompt"}
    assert set(stage.Params.model_fields) | ports <= set(stage.mapping)


@pytest.mark.parametrize("name", GENERATORS)
def test_what_its_mapping_names_beyond_them_is_said_to_go_nowhere(name: str) -> None:
    stage: Any = deployments.locate(name)
    known = set(stage.Params.model_fields) | set(contract_of(name, stage).ports)
    beyond = {word: text for word, text in stage.mapping.items() if word not in known}
    assert all(word in families.PUBLIC and text.startswith("none: ") for word, text in beyond.items())


def test_the_table_has_every_family_under_every_public_word() -> None:
    pairs = {(row[0].strip("`"), row[1].strip("`")) for row in families.rows()}
    stills = {name for name in GENERATORS if contract_of(name, deployments.locate(name)).output.__name__ == "Image"}
    for word in families.PUBLIC:
        expected = set(GENERATORS) - (stills if word in ("frames", "fps") else set())
        if word != "adapters":
            assert {name for said, name in pairs if said == word} == expected, word
