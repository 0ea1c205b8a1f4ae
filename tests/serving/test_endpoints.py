"""The flat endpoints against the real pipelines and the real service: what callers of the older service get."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from serve_app.config import AppConfig, plans_of
from serve_app.http.app import make_api
from serve_app.http.endpoint_table import ENDPOINTS, UNSERVED
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store

PIPELINES = ("flux-image", "qwen-image", "z-image", "remote-video", "wan-video")
VARIANTS = {"/flux": {"flux": "schnell"}, "/qwen-image-2512-fast": {"qwen_image": "lightning"}}
"""What is deployed for an endpoint, where it is not the usual: FLUX.1 dev, Qwen-Image standard, Wan's i2v-a14b."""


def photo() -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 120, 60)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def configured(directory: Path, pipelines: tuple[str, ...] = PIPELINES, **more: Any) -> AppConfig:
    variants = {"flux": "dev", "qwen_image": "standard", "wan": "i2v-a14b", **more.pop("variants", {})}
    stages: dict[str, Any] = {
        "generate.flux": {"model": "/flux", "variant": variants["flux"]},
        "generate.qwen_image": {"model": "/qwen", "variant": variants["qwen_image"]},
        "generate.z_image": {"model": "/z"},
        "generate.wan": {"model": "/wan", "variant": variants["wan"]},
        "generate.remote": {"url": "https://clips.example/v1", "model": "wan2.6", "usd_per_clip": 0.1},
    }
    used = {"flux-image": "flux", "qwen-image": "qwen_image", "z-image": "z_image", "wan-video": "wan"}
    wanted = {f"generate.{used.get(name, 'remote')}" for name in pipelines}
    return AppConfig.model_validate(
        {
            "pipelines": list(pipelines),
            "stages": {name: {"weights": weights} for name, weights in stages.items() if name in wanted},
            "directory": directory,
            **more,
        }
    )


def client_of(config: AppConfig) -> TestClient:
    service = RunService(open_store(config), open_artifacts(config), plans_of(config), config)
    return TestClient(make_api(service), raise_server_exceptions=False)


class Clients:
    """A client for each set of deployed weights, made once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: dict[str, TestClient] = {}

    def of(self, path: str, **more: Any) -> TestClient:
        variants = VARIANTS.get(path, {})
        key = f"{variants} {more}"
        if key not in self._made:
            home = self._directory / str(len(self._made))
            self._made[key] = client_of(configured(home, variants=variants, limits={"queued_runs": 1000}, **more))
        return self._made[key]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Clients:
    return Clients(tmp_path_factory.mktemp("endpoints"))


def body_of(path: str, **more: Any) -> dict[str, Any]:
    start = {"/wan2.6-i2v": {"reference_image": photo()}, "/wan22-i2v": {"source_image": photo()}}
    return {"prompt": "a red fox", **start.get(path, {}), **more}


CONTRACT: dict[str, tuple[str, dict[str, Any]]] = {
    "/flux": ("flux-image", {"width": 1024, "height": 1024, "steps": 4, "cfg": 1.0, "seed": 42}),
    "/flux-dev": ("flux-image", {"width": 1024, "height": 1024, "steps": 20, "cfg": 3.5, "seed": 42}),
    "/qwen-image-2512": ("qwen-image", {"width": 1328, "height": 1328, "steps": 50, "cfg": 4.0}),
    "/qwen-image-2512-fast": ("qwen-image", {"width": 1328, "height": 1328, "steps": 4, "cfg": 1.0}),
    "/z-image-simple": ("z-image", {"width": 1024, "height": 1024, "steps": 4, "cfg": 0.0, "seed": 42}),
    "/z-image-danrisi": ("z-image", {"width": 1024, "height": 1024, "steps": 8, "cfg": 0.0, "seed": 42}),
    "/wan2.6": (
        "remote-video",
        {"width": 832, "height": 480, "length": 33, "fps": 16, "steps": 30, "cfg": 6.0, "format": "webp", "seed": 42},
    ),
    "/wan2.6-i2v": (
        "remote-video",
        {"width": 832, "height": 480, "length": 33, "fps": 16, "steps": 30, "cfg": 6.0, "format": "webp", "seed": 42},
    ),
    "/wan22-i2v": ("wan-video", {"width": 512, "height": 768, "length": 33, "steps": 20, "cfg": 3.5, "seed": 42}),
}


@pytest.mark.parametrize("path", CONTRACT)
def test_an_endpoint_has_its_handlers_defaults_and_says_what_is_in_effect(path: str, clients: Clients) -> None:
    pipeline, defaults = CONTRACT[path]
    answer = clients.of(path).post(path, json=body_of(path))
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["object"], run["endpoint"], run["pipeline"]) == ("run", path, pipeline)
    assert {name: run["effective"][name] for name in defaults} == defaults
    assert answer.headers["location"] == f"/v1/runs/{run['id']}"


def test_there_is_a_contract_for_every_endpoint() -> None:
    assert set(CONTRACT) == {endpoint.path for endpoint in ENDPOINTS}


@pytest.mark.parametrize("path", CONTRACT)
def test_the_documents_body_is_taken_verbatim_and_echoed(path: str, clients: Clients) -> None:
    body = body_of(path, steps=28, cfg=3.5, seed=12345)
    answer = clients.of(path).post(path, json=body)
    assert answer.status_code == 202, answer.text
    effective = answer.json()["effective"]
    assert (effective["steps"], effective["cfg"], effective["seed"]) == (28, 3.5, 12345)


@pytest.mark.parametrize("path", CONTRACT)
def test_both_spellings_are_one_request(path: str, clients: Clients) -> None:
    client = clients.of(path)
    key = {"Idempotency-Key": path}
    ours = client.post(path, json=body_of(path, steps=28, cfg=3.5, seed=1), headers=key)
    theirs = client.post(path, json=body_of(path, num_inference_steps=28, guidance_scale=3.5, seed=1), headers=key)
    assert (ours.status_code, theirs.status_code) == (202, 200)
    assert theirs.json()["inputs"] == ours.json()["inputs"]


@pytest.mark.parametrize("path", CONTRACT)
def test_an_unknown_word_is_refused_with_those_that_there_are(path: str, clients: Clients) -> None:
    answer = clients.of(path).post(path, json=body_of(path, cfg_scale=3.5))
    assert (answer.status_code, answer.json()["field"]) == (422, "cfg_scale")
    assert "steps, cfg" in answer.json()["detail"]


def test_a_word_in_two_spellings_is_refused(clients: Clients) -> None:
    answer = clients.of("/flux-dev").post("/flux-dev", json=body_of("/flux-dev", cfg=3, guidance_scale=3))
    assert (answer.status_code, answer.json()["field"]) == (422, "guidance_scale")


@pytest.mark.parametrize(
    ("path", "more", "field"),
    [
        ("/flux-dev", {"cfg": "3.5"}, "cfg"),
        ("/flux-dev", {"cfg": 99}, "cfg"),
        ("/flux", {"cfg": 0.5}, "cfg"),
        ("/z-image-simple", {"cfg": 0.5}, "cfg"),
        ("/wan22-i2v", {"num_frames": 34}, "length"),
        ("/qwen-image-2512", {"aspect_ratio": "5:4"}, "aspect_ratio"),
    ],
)
def test_a_bad_value_is_named_as_the_caller_knows_it(
    path: str, more: dict[str, Any], field: str, clients: Clients
) -> None:
    answer = clients.of(path).post(path, json=body_of(path, **more))
    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


@pytest.mark.parametrize(("path", "field"), [("/wan2.6-i2v", "reference_image"), ("/wan22-i2v", "source_image")])
def test_a_picture_that_is_needed_is_asked_for(path: str, field: str, clients: Clients) -> None:
    answer = clients.of(path).post(path, json={"prompt": "a red fox"})
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_an_aspect_ratio_stands_in_for_the_default_size(clients: Clients) -> None:
    client = clients.of("/qwen-image-2512")
    run = client.post("/qwen-image-2512", json=body_of("/qwen-image-2512", aspect_ratio="16:9")).json()
    assert (run["effective"]["aspect_ratio"], run["effective"]["width"]) == ("16:9", None)


@pytest.mark.parametrize(
    ("path", "variants"),
    [("/flux", {"flux": "dev"}), ("/qwen-image-2512-fast", {}), ("/wan22-i2v", {"wan": "ti2v-5b"})],
)
def test_an_endpoint_is_not_there_without_the_weights_that_it_was_made_for(
    path: str, variants: dict[str, str], tmp_path: Path
) -> None:
    answer = client_of(configured(tmp_path, variants=variants)).post(path, json=body_of(path))
    assert answer.status_code == 404
    assert CONTRACT[path][0] in answer.json()["detail"]


def test_an_endpoint_without_its_pipeline_names_it(tmp_path: Path) -> None:
    answer = client_of(configured(tmp_path, ("z-image",))).post("/flux", json=body_of("/flux"))
    assert answer.status_code == 404
    assert answer.json()["detail"] == (
        "/flux needs the pipeline flux-schnell or flux-image with generate.flux, variant schnell, "
        "and this server does not have it"
    )


@pytest.mark.parametrize("path", UNSERVED)
def test_what_is_not_served_says_why(path: str, clients: Clients) -> None:
    answer = clients.of("/flux-dev").post(path, json={})
    assert answer.status_code == 404
    assert answer.json()["detail"] == f"{path} is not served: {UNSERVED[path]}"


@pytest.mark.parametrize(
    ("path", "given", "seed", "origin"),
    [
        ("/flux", {}, 12345, "optimal: measured n=3: "),
        ("/flux", {"seed": 0}, 0, "caller"),
        ("/qwen-image-2512-fast", {}, 1374878599, "optimal: measured n=2: "),
        ("/wan22-i2v", {}, 42, "optimal: unmeasured"),
    ],
)
def test_a_profile_takes_the_shipped_seeds_in_one_line_and_the_callers_wins(
    path: str, given: dict[str, Any], seed: int, origin: str, clients: Clients
) -> None:
    run = clients.of(path, optimal_seeds="shipped").post(path, json=body_of(path, **given)).json()
    assert run["effective"]["seed"] == seed
    assert run["seed_origin"].startswith(origin)


def test_without_a_table_the_endpoints_own_seed_is_called_that(clients: Clients) -> None:
    run = clients.of("/flux").post("/flux", json=body_of("/flux")).json()
    assert (run["effective"]["seed"], run["seed_origin"]) == (42, "the endpoint's default")


def test_a_body_that_is_no_object_or_no_json_is_refused(clients: Clients) -> None:
    client = clients.of("/flux-dev")
    assert client.post("/flux-dev", json=["a red fox"]).status_code == 422
    assert client.post("/flux-dev", data={"prompt": "a red fox"}).status_code == 415


def test_the_document_has_every_word_and_default(clients: Clients) -> None:
    paths = clients.of("/flux-dev").get("/openapi.json").json()["paths"]
    for path, (_, defaults) in CONTRACT.items():
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        said = {name: schema["properties"][name].get("default") for name in defaults if name != "seed"}
        assert said == {name: value for name, value in defaults.items() if name != "seed"}
        assert {"num_inference_steps", "guidance_scale"} <= schema["properties"].keys()
