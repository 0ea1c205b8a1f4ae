"""The native HTTP API as one ASGI application, made from a Service and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware

from serve_app.http import problems, routes
from serve_app.http.facts import HEADERS
from serve_app.http.request_id import HEADER, RequestId
from serve_app.http.service import Service
from serve_app.http.traffic import Counting, Traffic
from serve_app.http.wire import EventView, Problem, SubmissionBody
from serve_app.runs.sweep import SweepSpec

DISTRIBUTION = "greenlight-serve"


class Api(FastAPI):
    """A FastAPI whose document also has the schemas that handlers read or write by hand."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            by_hand = [(model, "serialization") for model in (EventView, Problem, SubmissionBody, SweepSpec)]
            _, extra = models_json_schema(by_hand, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            document["components"]["schemas"] |= extra["$defs"]
        return self.openapi_schema or document


def make_api(service: Service, cors_origins: Sequence[str] = ()) -> FastAPI:
    """Return the API in front of ``service``. Pure: it reads no globals, and two APIs share nothing.

    Pages of ``cors_origins`` may call it from a browser; no others can read what it answers.
    """
    app = Api(
        title="Greenlight",
        summary="Serves generative image and video models and ships only what a judge has passed.",
        version=version(DISTRIBUTION),
        docs_url=None,  # the pages FastAPI brings load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service, app.state.traffic = service, Traffic()
    app.add_middleware(RequestId)
    app.add_middleware(Counting, traffic=app.state.traffic)
    if cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(cors_origins),
            allow_methods=["GET", "HEAD", "POST", "PUT"],
            allow_headers=["*"],
            expose_headers=[HEADER, "Location", "ETag", "Retry-After", *HEADERS],
        )
    problems.install(app)
    routes.add_to(app)
    return app
