"""The native HTTP API as one ASGI application, made from a Service and nothing else."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from serve_app.http import problems, routes
from serve_app.http.request_id import RequestId
from serve_app.http.service import Service
from serve_app.http.wire import EventView, Problem, SubmissionBody

DISTRIBUTION = "greenlight-serve"


class Api(FastAPI):
    """A FastAPI whose document also has the schemas that handlers read or write by hand."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            by_hand = [(model, "serialization") for model in (EventView, Problem, SubmissionBody)]
            _, extra = models_json_schema(by_hand, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            document["components"]["schemas"] |= extra["$defs"]
        return self.openapi_schema or document


def make_api(service: Service) -> FastAPI:
    """Return the API in front of ``service``. Pure: it reads no globals, and two APIs share nothing."""
    app = Api(
        title="Greenlight",
        summary="Serves generative image and video models and ships only what a judge has passed.",
        version=version(DISTRIBUTION),
        docs_url=None,  # the pages FastAPI brings load their scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(RequestId)
    problems.install(app)
    routes.add_to(app)
    return app
