"""The application builder: `serve run serve_app/profiles/demo.yaml` and `serve deploy` end up here.

This module must not postpone its annotations (`from __future__ import annotations`): Serve finds the builder's config
type by looking at them, and would pass on a raw dict without a word, every typo in it included.
"""

from ray import serve
from ray.serve import Application

from serve_app.config import INGRESS, RUNNER, AppConfig, deployments_of, plans_of
from serve_app.serving.ingress import Ingress
from serve_app.serving.replica import Replica
from serve_app.serving.runner import Runner
from serve_app.serving.stores import at_home


def build(config: AppConfig) -> Application:
    """Return the application: an ingress, a runner, and one deployment per stage, named as the pipelines name them,
    or per group of colocated stages.

    Every pipeline is compiled first, so a mistake ends here and not in a replica. GPU fractions, replicas and
    autoscaling are Serve's own options, set per deployment in the profile.
    """
    config = at_home(config)
    plans_of(config)
    handles, hosts = {}, {}
    for name in deployments_of(config):
        if (host := config.host_of(name)) not in hosts:
            # 2 for each stage, and one lock in its host: the next call is already there when the device comes free.
            ongoing = 2 * len(config.members_of(host))
            deployment = serve.deployment(Replica).options(name=host, max_ongoing_requests=ongoing)
            hosts[host] = deployment.bind(host, config)
        handles[name] = hosts[host]
    runner = serve.deployment(Runner).options(name=RUNNER).bind(config, handles)
    return serve.deployment(Ingress).options(name=INGRESS, max_ongoing_requests=100).bind(config, runner)
