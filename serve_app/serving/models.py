"""What is deployed, as `GET /v1/models` shows it: told by the configuration, Serve's controller and the replicas."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serve_app.config import AppConfig, deployments_of
from serve_app.graph.plan import Deployment, Plan

ANSWER_S = 2.0
"""How long a replica may take to say what it holds; one that renders answers as well."""

_FAILED = ("UNHEALTHY", "DEPLOY_FAILED")
_NAMED = {"model", "file"}
_COMING = {"STARTING", "UPDATING", "RECOVERING"}
_USER = re.compile(r"(?<=//)[^/@]*@")


@dataclass(frozen=True)
class Standing:
    """How the deployments stand: Serve's details of each by name, and when the application was deployed."""

    deployments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    deployed_s: float = 0.0


Look = Callable[[], Standing]
Ask = Callable[[str], Awaitable[dict[str, Any]]]
"""Has a replica of the named deployment say its facts; raises TimeoutError when it does not."""


def nothing_stands() -> Standing:
    """Where there is no Serve."""
    return Standing()


async def nobody_answers(name: str) -> dict[str, Any]:
    """Where there are no replicas."""
    raise TimeoutError(name)


@dataclass(frozen=True)
class Roll:
    """The deployed models, and whom to ask about them."""

    config: AppConfig
    plans: Mapping[str, Plan]
    look: Look = nothing_stands
    ask: Ask = nobody_answers

    async def call(self) -> list[dict[str, Any]]:
        """Return every model's card, as `http.models.ModelView` has it."""
        standing = await asyncio.to_thread(self.look)
        known = [each for each in deployments_of(self.config).values() if is_model(each)]
        return list(await asyncio.gather(*(self._card(each, standing) for each in known)))

    async def _card(self, deployment: Deployment, standing: Standing) -> dict[str, Any]:
        state = state_of(standing.deployments.get(self.config.host_of(deployment.name)))
        memory = await self._memory(self.config.host_of(deployment.name)) if state["word"] == "loaded" else None
        return {
            **card_of(deployment),
            "created": int(standing.deployed_s),
            "pipelines": _using(deployment, self.plans),
            "state": state,
            "memory": memory,
        }

    async def _memory(self, name: str) -> dict[str, Any] | None:
        try:
            facts = await asyncio.wait_for(self.ask(name), ANSWER_S)
        except TimeoutError:
            return None
        memory: dict[str, Any] | None = facts.get("memory")
        return memory


def _using(deployment: Deployment, plans: Mapping[str, Plan]) -> list[str]:
    return [plan.name for plan in plans.values() if deployment.name in {s.deployment.name for s in plan.steps}]


def is_model(deployment: Deployment) -> bool:
    """Say whether there is a model behind a deployment: a generator, or a stage that is given weights of its own."""
    given = _NAMED & type(deployment.weights).model_fields.keys()
    is_library = hasattr(deployment.stage, "catalogue")  # its `model` is only what its files are held against
    return deployment.contract.name.startswith("generate.") or bool(given and not is_library)


def card_of(deployment: Deployment) -> dict[str, Any]:
    """Return what the configuration alone says of a model."""
    held = deployment.weights.model_dump(mode="json")
    for name, value in held.items():
        if isinstance(value, str):
            held[name] = _USER.sub("", value)  # an address may hold a password
    return {
        "id": deployment.name,
        "object": "model",
        "owned_by": _owner(held),
        "family": deployment.contract.name,
        "model": held.get("model"),
        **{name: held.get(name) for name in ("revision", "version", "variant")},
        "params": params_of(deployment),
        "weights": held,
    }


def _owner(held: Mapping[str, Any]) -> str:
    model = str(held.get("model") or "")
    if "url" in held:
        return str(held["url"]).partition("//")[2].partition("/")[0]
    if not model:
        return "greenlight"
    return "local" if model.startswith((".", "/", "~")) or model.count("/") != 1 else model.partition("/")[0]


def params_of(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Return every param's JSON schema without its alternatives to null, and what the stage says it becomes."""
    mapping: Mapping[str, str] = getattr(deployment.stage, "mapping", {})
    schema = deployment.contract.params.model_json_schema()
    return {
        name: {"default": None, **_flat(entry), "goes_to": mapping.get(name)}
        for name, entry in schema["properties"].items()
    }


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in entry.get("anyOf", ()) if kind.get("type") != "null"]
    inner = kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
    return {**{key: value for key, value in entry.items() if key not in ("anyOf", "title")}, **inner}


def state_of(details: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what Serve's details of a deployment come to."""
    if details is None:
        return {"word": "unknown", "replicas": None}
    replicas = [str(getattr(each["state"], "value", each["state"])) for each in details["replicas"]]
    running = replicas.count("RUNNING")
    status = str(getattr(details["status"], "value", details["status"]))
    if status in _FAILED:
        return {"word": "failed", "replicas": running, "reason": str(details.get("message") or "")[:500]}
    if running:
        return {"word": "loaded", "replicas": running}
    is_coming = _COMING & set(replicas) or details.get("target_num_replicas")
    return {"word": "starting" if is_coming else "idle", "replicas": 0}
