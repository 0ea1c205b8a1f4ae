"""Adapters over Serve, with two generators: to each client its own, files that come and go, sets that stay in place."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from serve_app.commands.client import Client, Refused
from serve_app.commands.followed import Followed
from serve_app.commands.local import Local
from serve_app.config import AppConfig, QueueConfig, StageConfig, plans_of
from serve_app.core.adapter import Adapters
from serve_app.graph.callers import Call
from serve_app.graph.plan import Bound
from serve_app.graph.record import Called
from tests.serve.conftest import READY_S, wait_until

APP = "adapters"
REPLICAS = 2
WIDTH = 64
"""Of the tiny FLUX.1."""
SMALL = {"prompt": "a red fox", "width": 48, "height": 48, "steps": 2, "on_fail": "warn"}


@dataclass(frozen=True)
class Worn:
    """The application, the directory that its adapters lie in, and what it was built from."""

    url: str
    directory: Path
    config: AppConfig

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        """Lend a client."""
        with contextlib.closing(Client(self.url)) as client:
            yield client

    def put(self, name: str, seed: int, rank: int = 4) -> Path:
        """Write an adapter for every attention of the tiny FLUX.1, as an operator would: whole, then moved in place."""
        from safetensors.torch import save_file

        generator, tensors = torch.Generator().manual_seed(seed), dict[str, torch.Tensor]()
        for block in range(2):
            for layer in ("to_q", "to_k", "to_v"):
                path = f"transformer.transformer_blocks.{block}.attn.{layer}"
                tensors[f"{path}.lora_A.weight"] = torch.randn(rank, WIDTH, generator=generator)
                tensors[f"{path}.lora_B.weight"] = torch.randn(WIDTH, rank, generator=generator)
        made = self.directory.parent / f"{name}.part"
        save_file(tensors, made)
        return made.rename(self.directory / f"{name}.safetensors")


@pytest.fixture(scope="module")
def worn(cluster: str, short_tmp: Path) -> Iterator[Worn]:
    """Deploy `flux-lora` with two generators of tiny weights."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    from tests.deployments.tiny_flux import build

    weights, directory = build(short_tmp / "tiny-flux"), short_tmp / "adapters"
    directory.mkdir()
    finder = {"family": "flux", "model": str(weights), "directories": [str(directory)]}
    config = AppConfig(
        pipelines=("flux-lora",),
        stages={
            "generate.flux": StageConfig(weights={"model": str(weights)}),
            "adapt.lora": StageConfig(weights=finder),
        },
        directory=short_tmp / "worn",
        queue=QueueConfig(slots=8),
    )
    entry = {"max_ongoing_requests": 2, "ray_actor_options": {"num_cpus": 1}}
    entries = [{"name": "generate.flux", "num_replicas": REPLICAS, **entry}]
    application = {
        "name": APP,
        "route_prefix": f"/{APP}",
        "import_path": "serve_app.app:build",
        "args": config.model_dump(mode="json"),
        "deployments": entries,
    }
    _get_global_client().deploy_apps(ServeDeploySchema(applications=[application]))
    wait_until(is_running, 4 * READY_S)  # three of the replicas import diffusers, on what cores there are
    made = Worn(f"{cluster}/{APP}", directory, config)
    with made.client() as client:
        wait_until(client.is_ready, READY_S)
    yield made
    serve.delete(APP)


def is_running() -> bool:
    """Whether the application is up; fail when it cannot be."""
    from ray import serve

    status = serve.status().applications[APP]
    assert status.status != "DEPLOY_FAILED", status.message
    return bool(status.status == "RUNNING")


@pytest.fixture(scope="module")
def local(worn: Worn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """The same pipeline in this process."""
    made = Local(worn.config.model_copy(update={"directory": tmp_path_factory.mktemp("local")}), {})
    yield made
    made.close()


def finish(followed: Followed, adapter: Any, seed: int = 7) -> dict[str, Any]:
    """Carry out a run and return its report."""
    inputs = {**SMALL, "seed": seed, **({} if adapter is None else {"adapter": adapter})}
    run_id = followed.submit("flux-lora", inputs, {"attempts": 1})
    ended = list(followed.follow(run_id))[-1]
    assert ended.kind == "succeeded", ended.data
    return followed.report(run_id)


def picture(report: dict[str, Any]) -> str:
    """Return the digest of the picture that a run delivered."""
    digest: str = report["outputs"]["image"]["digest"]
    return digest


def noted(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the generator noted of its adapters."""
    steps = {step["node"]: step for step in report["attempts"][-1]["steps"]}
    notes: list[dict[str, Any]] = steps["draft"]["notes"].get("adapters", [])
    return notes


def test_eight_clients_with_sets_of_their_own_each_get_their_own_picture(worn: Worn, local: Local) -> None:
    for seed, name in enumerate("abc"):
        worn.put(name, seed)
    sets = ["a", "b", "a,b", "a@0.5", "b@-1", ["c@0.65", "a"], "c", None]
    wanted = [picture(finish(local, each)) for each in sets]
    assert len(set(wanted)) == len(sets), "each set has a picture of its own"

    def work(index: int) -> list[str]:
        with worn.client() as client:
            return [picture(finish(client, sets[(index + turn) % len(sets)])) for turn in (0, 3)]

    with ThreadPoolExecutor(len(sets)) as pool:
        made = list(pool.map(work, range(len(sets))))
    assert made == [[wanted[index], wanted[(index + 3) % len(sets)]] for index in range(len(sets))]


def test_the_report_counts_what_was_applied(worn: Worn) -> None:
    worn.put("counted", 11)
    with worn.client() as client:
        report = finish(client, "counted@0.65")
    (note,) = noted(report)
    assert (note["name"], note["matched"], note["rank"], note["dtype"], note["strength"]) == (
        "counted",
        "6/6",
        "4",
        "fp32",
        0.65,
    )
    assert len(note["sha256"]) == 64


def test_files_come_change_and_go_without_a_restart(worn: Worn) -> None:
    with worn.client() as client:
        path = worn.put("late", 21)
        first = finish(client, "late")
        worn.put("late", 22, rank=6)
        second = finish(client, "late")
        assert picture(first) != picture(second)
        assert [note["rank"] for note in (*noted(first), *noted(second))] == ["4", "6"]
        run_id = client.submit("flux-lora", {**SMALL, "steps": 60, "seed": 7, "adapter": "late"}, {"attempts": 1})
        kinds = []
        for happening in client.follow(run_id):
            if happening.kind == "step.progress" and path.exists():
                path.unlink()
            kinds.append(happening.kind)
        assert not path.exists()
        assert kinds[-1] == "succeeded", "deleting a file in use is safe"
        with pytest.raises(Refused, match="there is no 'late'"):
            client.submit("flux-lora", {**SMALL, "seed": 7, "adapter": "late"}, {"attempts": 1})


def test_a_file_that_does_not_fit_never_reaches_a_generator(worn: Worn) -> None:
    path = worn.put("cut", 31)
    path.write_bytes(path.read_bytes()[:-7])
    with worn.client() as client, pytest.raises(Refused, match=r"422: cut\.safetensors: it is truncated"):
        client.submit("flux-lora", {**SMALL, "seed": 7, "adapter": "cut"}, {"attempts": 1})


@pytest.mark.slow
def test_calls_go_to_the_replica_that_has_their_adapters(worn: Worn) -> None:
    from ray import serve

    from serve_app.serving.affinity import set_of
    from serve_app.serving.handles import ServeCaller

    names = [f"set{index}" for index in range(4)]
    for seed, name in enumerate(names):
        worn.put(name, 41 + seed)
    handles = {name: serve.get_deployment_handle(name, app_name=APP) for name in ("adapt.lora", "generate.flux")}
    caller, plan = ServeCaller(handles), plans_of(worn.config)["flux-lora"]
    bound = plan.bind({**SMALL, "seed": 7})

    async def run() -> tuple[list[bool], dict[str, Counter[int]]]:
        found = {name: (await step(caller, bound, "adapters", adapter=name)).value for name in names}
        order = random.Random(0)
        cold = []
        for name in (order.choice(names) for _ in range(40)):
            draft = await step(caller, bound, "draft", prompt="a fox", seed=7, adapters=found[name])
            cold.append(not draft.record.notes["adapters"][0]["was_loaded"])
        processes = {}
        for name in names:
            set_id = set_of(call_of(bound, "draft", adapters=found[name]))
            ask = handles["generate.flux"].options(method_name="facts", multiplexed_model_id=set_id)
            processes[name] = Counter([(await ask.remote())["pid"] for _ in range(10)])
        return cold, processes

    cold, processes = asyncio.run(run())
    assert sum(cold) <= len(names) + 1, "a set is loaded by one of the two replicas; at random, by both"
    assert all(max(counts.values()) >= 9 for counts in processes.values()), processes


def call_of(bound: Bound, node: str, **values: Any) -> Call:
    """Return a call of one step of the pipeline."""
    (step,) = (step for step in bound.plan.steps if step.node == node)
    return Call(step, bound.params[node], values, lambda done, of: None)


async def step(caller: Any, bound: Bound, node: str, **values: Any) -> Called:
    """Call one step of the pipeline."""
    called: Called = await caller.call(call_of(bound, node, **values))
    assert node != "adapters" or isinstance(called.value, Adapters)
    return called
