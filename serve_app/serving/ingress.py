"""The ingress: the HTTP API as a Serve deployment. Every replica answers for every run, for the store is shared."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.config import AppConfig, plans_of
from serve_app.http.app import make_api
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store


@serve.ingress()  # the application is made in the replica, by the method below
class Ingress:
    """Takes requests and answers from the store. ``runner`` is held so that Serve starts it with the application."""

    def __init__(self, config: AppConfig, runner: DeploymentHandle) -> None:
        self._config, self._runner = config, runner

    def __serve_build_asgi_app__(self) -> Any:
        config = self._config
        service = RunService(open_store(config), open_artifacts(config), plans_of(config), config)
        return make_api(service)
