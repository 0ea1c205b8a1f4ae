"""A small CustomResourceDefinition, held against as the API server would."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_app.core.errors import Misconfigured
from serve_app.serving.crd import crd_problems

SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A kettle.",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["litres", "mode"],
            "properties": {
                "litres": {"type": "integer"},
                "mode": {"type": "string", "default": "boil", "enum": ["boil", "warm"]},
                "port": {"x-kubernetes-int-or-string": True},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "note": {"type": "string", "nullable": True},
                "cups": {"type": "array", "items": {"type": "object", "properties": {"size": {"type": "integer"}}}},
            },
        }
    },
}


@pytest.fixture
def crd(tmp_path: Path) -> Path:
    file = tmp_path / "crd.yaml"
    versions = [{"name": "v1", "schema": {"openAPIV3Schema": SCHEMA}}]
    spec = {"group": "tea.example", "names": {"kind": "Kettle"}, "versions": versions}
    file.write_text(yaml.safe_dump({"kind": "CustomResourceDefinition", "spec": spec}))
    return file


def kettle(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "tea.example/v1", "kind": "Kettle", "metadata": {"name": "k"}, "spec": {"litres": 1} | spec}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"port": 80},
        {"port": "http"},
        {"free": {"anything": [1]}},
        {"labels": {"a": "b"}},
        {"note": None},
        {"cups": [{"size": 2}]},
    ],
)
def test_what_the_api_server_takes_is_taken(crd: Path, spec: dict[str, Any]) -> None:
    assert list(crd_problems(kettle(spec), crd)) == []


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        ({"litre": 1}, "spec"),
        ({"litres": "1"}, "spec.litres"),
        ({"mode": "cool"}, "spec.mode"),
        ({"port": 1.5}, "spec.port"),
        ({"labels": {"a": 1}}, "spec.labels.a"),
        ({"litres": None}, "spec.litres"),
        ({"cups": [{"size": 2}, {"colour": 1}]}, "spec.cups.1"),
    ],
)
def test_what_it_refuses_is_refused_with_its_path(crd: Path, spec: dict[str, Any], where: str) -> None:
    assert [finding.where for finding in crd_problems(kettle(spec), crd)] == [where]


def test_a_definition_of_something_else_is_refused(crd: Path) -> None:
    with pytest.raises(Misconfigured, match=r"defines tea\.example Kettle"):
        list(crd_problems(kettle({}) | {"kind": "Pot"}, crd))


def test_a_version_that_is_not_defined_is_refused(crd: Path) -> None:
    with pytest.raises(Misconfigured, match=r"no 'v2'"):
        list(crd_problems(kettle({}) | {"apiVersion": "tea.example/v2"}, crd))


@pytest.mark.parametrize("text", ["a: [", "3", "spec: {}"])
def test_a_file_that_is_no_definition_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "crd.yaml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=r"crd\.yaml: "):
        list(crd_problems(kettle({}), file))
