"""The application as a whole, and the document that describes it."""

from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

import serve_app.http
from serve_app.http import routes
from serve_app.http.app import make_api
from tests.http.conftest import LIMITS
from tests.http.desk_service import DeskService
from tests.http.test_runs import BODY


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def test_the_document_lists_every_route_and_its_problems(document: dict[str, Any]) -> None:
    for entry in routes.TABLE:
        operation = document["paths"][entry.path][entry.method.lower()]
        for status in (*entry.problems, 500):
            schema = operation["responses"][str(status)]["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
    assert len(operations(document)) == len(routes.TABLE)


def test_the_document_has_our_version(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert document["info"]["version"] == version("greenlight-serve")


def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for member in value.values() for found in references(member)]
        return [found for member in value for found in references(member)] if isinstance(value, list) else []

    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references(document["paths"])} <= set(schemas)
    assert all(reference.startswith("#/components/schemas/") for reference in references(document))


def test_every_schema_in_the_document_is_json_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_operation_ids_are_unique(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document)]
    assert len(names) == len(set(names))


def test_what_the_api_says_fits_the_document(client: TestClient, document: dict[str, Any]) -> None:
    client.put("/v1/runs/mine", json=BODY)
    for address, name in [
        ("/v1/runs/mine", "RunView"),
        ("/v1/runs", "RunList"),
        ("/v1/pipelines", "PipelineList"),
        ("/v1/runs/mine/artifacts", "ArtifactList"),
        ("/v1/runs/nobody", "Problem"),
    ]:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        Draft202012Validator(schema).validate(client.get(address).json())


@pytest.mark.parametrize("address", ["/docs", "/redoc"])
def test_no_page_loads_scripts_from_elsewhere(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


def test_two_apis_share_nothing(tmp_path: Path) -> None:
    first, second = (TestClient(make_api(DeskService(tmp_path, LIMITS))) for _ in range(2))
    first.put("/v1/runs/mine", json=BODY)
    assert second.get("/v1/runs/mine").status_code == 404


def test_an_api_mounted_under_a_prefix_gives_addresses_that_work(api: FastAPI) -> None:
    client = TestClient(Starlette(routes=[Mount("/green", api)]))
    location = client.post("/green/v1/runs", json=BODY).headers["location"]
    assert location.startswith("/green/v1/runs/")
    assert client.get(location).status_code == 200
    assert client.get(client.get("/green/v1/runs/nobody").json()["type"]).status_code == 200


def test_the_http_floor_imports_no_ray_and_no_model_library() -> None:
    folder = Path(serve_app.http.__file__).parent
    roots = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots |= {name.split(".")[0] for name in names}
    assert roots.isdisjoint({"ray", "torch", "diffusers", "cv2", "av", "deployments"})


@pytest.mark.parametrize("path", ["/v1/runs/mine", "/v1/pipelines", "/healthz", "/v1/runs/mine/events"])
def test_a_query_parameter_that_nobody_reads_is_refused(client: TestClient, path: str) -> None:
    answer = client.get(path, params={"pipelin": "x"})
    assert (answer.status_code, answer.json()["field"]) == (422, "pipelin")
