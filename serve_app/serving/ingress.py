"""The ingress: the HTTP API as a Serve deployment. Every replica answers for every run, for the store is shared."""

from __future__ import annotations

import functools
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from serve_app.config import AppConfig, plans_of
from serve_app.http.app import make_api
from serve_app.serving.holdings import live_holdings
from serve_app.serving.models import Roll
from serve_app.serving.service import RunService
from serve_app.serving.standing import facts_of, live_standing
from serve_app.serving.stores import open_artifacts, open_store
from serve_app.telemetry import log


@serve.ingress()  # the application is made in the replica, by the method below
class Ingress:
    """Takes requests and answers from the store. ``runner`` is held so that Serve starts it with the application."""

    def __init__(self, config: AppConfig, runner: DeploymentHandle) -> None:
        self._config, self._runner = config, runner

    def __serve_build_asgi_app__(self) -> Any:
        config = self._config
        log.set_up(config.log_format)
        plans = plans_of(config)
        roll = Roll(config, plans, live_standing, facts_of)
        holdings = functools.partial(live_holdings, config.colocate)
        service = RunService(open_store(config), open_artifacts(config), plans, config, holdings, roll)
        return make_api(service, config.http.cors_origins)
