"""What replicas will hold, read from what Serve and Ray say."""

from __future__ import annotations

from typing import Any

from serve_app.graph.record import Resources
from serve_app.serving.holdings import holdings_in, with_members


def node(is_alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": is_alive, "Resources": {name.replace("__", ":"): amount for name, amount in resources.items()}}


def deployment(**options: Any) -> dict[str, Any]:
    return {"deployment_config": {"ray_actor_options": options}}


def test_a_deployment_without_a_gpu_holds_its_cores() -> None:
    assert holdings_in({"judge": deployment(num_cpus=0.5)}, []) == {"judge": (Resources(0.5, 0.0, None),)}


def test_a_share_may_be_of_every_kind_of_accelerator_in_the_cluster() -> None:
    nodes = [node(GPU=1, accelerator_type__L4=1), node(GPU=8, accelerator_type__H100=1), node(CPU=4)]
    held = holdings_in({"generate": deployment(num_cpus=1, num_gpus=0.6)}, nodes)
    assert held == {"generate": (Resources(1.0, 0.6, "H100"), Resources(1.0, 0.6, "L4"))}


def test_a_deployment_that_wants_one_kind_gets_that() -> None:
    held = holdings_in({"generate": deployment(num_gpus=1, accelerator_type="L4")}, [node(GPU=1)])
    assert held == {"generate": (Resources(0.0, 1.0, "L4"),)}


def test_gpus_without_a_label_are_unknown_as_the_replica_will_say() -> None:
    held = holdings_in({"generate": deployment(num_gpus=1)}, [node(GPU=2)])
    assert held == {"generate": (Resources(0.0, 1.0, "unknown"),)}


def test_of_a_cluster_whose_gpus_are_still_to_come_nothing_is_known() -> None:
    nodes = [node(CPU=4), node(is_alive=False, GPU=1, accelerator_type__L4=1)]
    assert holdings_in({"generate": deployment(num_gpus=1)}, nodes) == {"generate": ()}


def test_a_colocated_member_holds_what_its_groups_head_does() -> None:
    held = holdings_in({"generate": deployment(num_cpus=2), "encode": deployment(num_cpus=1)}, [])
    share = (Resources(2.0, 0.0, None),)
    assert with_members(held, [("generate", "judge"), ("upscale", "other")]) == {
        "generate": share,
        "judge": share,
        "encode": (Resources(1.0, 0.0, None),),
    }
