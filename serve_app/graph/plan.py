"""From a pipeline file to a plan: names resolved, wires type-checked, steps in order. Nothing is loaded to get here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import ValidationError

from serve_app.core.artifact import Artifact
from serve_app.core.errors import BadRequest, InvalidInput, Misconfigured, Unknown
from serve_app.core.score import Score
from serve_app.core.stage import PORT_TYPES, Contract, Port, Strict, contract_of
from serve_app.graph.inputs import check_inputs, take_inputs
from serve_app.graph.spec import InputSpec, NodeSpec, PipelineSpec, RunPolicy

DELIVERABLE = (Artifact, Score)
"""What may leave a pipeline. A clip must be encoded first."""


@dataclass(frozen=True)
class Deployment:
    """One stage with its weights, under the name that pipelines and profiles use."""

    name: str
    stage: type
    contract: Contract
    weights: Strict


@dataclass(frozen=True)
class Source:
    """Where a port's value comes from: an input of the request, or another step."""

    name: str
    is_input: bool


@dataclass(frozen=True)
class Step:
    """A node after compilation. ``params`` may hold `$input` references; `Plan.bind` fills them in."""

    node: str
    deployment: Deployment
    params: Mapping[str, Any]
    takes: Mapping[str, Source]

    @property
    def needs(self) -> list[str]:
        """The steps that must be done before this one."""
        return sorted({source.name for source in self.takes.values() if not source.is_input})


@dataclass(frozen=True)
class Plan:
    """A compiled pipeline: the same plan runs in-process and on Serve."""

    name: str
    description: str
    inputs: Mapping[str, InputSpec]
    steps: tuple[Step, ...]
    outputs: Mapping[str, str]
    policy: RunPolicy

    @property
    def seed_input(self) -> str | None:
        """The name of the input of type seed, if the pipeline has one."""
        return next((name for name, spec in self.inputs.items() if spec.type == "seed"), None)

    def bind(self, given: Mapping[str, Any]) -> Bound:
        """Check a request's inputs and every step's params with them; raise InvalidInput naming `inputs.<name>`."""
        inputs = take_inputs(self.inputs, given)
        params = {step.node: _params(step, self.inputs, inputs) for step in self.steps}
        for step in self.steps:
            _check_required_ports(step, params[step.node], inputs)
        return Bound(plan=self, inputs=inputs, params=params)

    def check_policy(self, policy: RunPolicy) -> None:
        """Raise InvalidInput naming `policy.vary` when attempts are to differ in a seed that there is not."""
        if policy.attempts > 1 and policy.vary == "seed" and self.seed_input is None:
            raise InvalidInput("policy.vary", f"attempts cannot differ in their seed: {self.name} takes none")


@dataclass(frozen=True)
class Bound:
    """A plan with one request's inputs (after defaults and aliases) and the params in effect for every step."""

    plan: Plan
    inputs: Mapping[str, Any]
    params: Mapping[str, Strict]

    def with_seed(self, seed: int) -> Bound:
        """Return the same request with another seed."""
        name = self.plan.seed_input
        return self if name is None else self.plan.bind({**self.inputs, name: seed})


def compile_plan(spec: PipelineSpec, deployments: Mapping[str, Deployment]) -> Plan:
    """Resolve, type-check and order ``spec``; raise Misconfigured naming pipeline, node and port."""
    where = f"pipeline {spec.name}"
    steps = {node: _step(where, node, spec, deployments) for node in spec.nodes}
    try:
        order = list(TopologicalSorter({node: steps[node].needs for node in steps}).static_order())
    except CycleError as error:
        raise Misconfigured(where, f"the nodes form a cycle: {' -> '.join(error.args[1])}") from error
    for name, node in spec.outputs.items():
        if node not in steps:
            raise Misconfigured(f"{where} outputs.{name}", str(Unknown("node", node, list(steps))))
        if steps[node].deployment.contract.output not in DELIVERABLE:
            raise Misconfigured(f"{where} outputs.{name}", f"{node} makes no artifact or score; encode it first")
    _refuse_unused(where, spec, steps)
    check_inputs(where, spec.inputs)
    seeds = [name for name, input_spec in spec.inputs.items() if input_spec.type == "seed"]
    if len(seeds) > 1:
        raise Misconfigured(f"{where} inputs.{seeds[1]}", f"{seeds[0]} is a seed already, and there is one at most")
    ordered = tuple(steps[node] for node in order)
    plan = Plan(spec.name, spec.description, spec.inputs, ordered, spec.outputs, spec.policy)
    try:
        plan.check_policy(spec.policy)
    except InvalidInput as error:
        raise Misconfigured(f"{where} {error.field}", error.reason) from error
    return plan


def _step(where: str, node: str, spec: PipelineSpec, deployments: Mapping[str, Deployment]) -> Step:
    node_spec = spec.nodes[node]
    deployment = deployments.get(node_spec.use)
    if deployment is None:
        raise Misconfigured(f"{where} nodes.{node}.use", str(Unknown("use", node_spec.use, list(deployments))))
    ports = deployment.contract.ports
    for taken in node_spec.take:
        if taken not in ports:
            raise Misconfigured(f"{where} nodes.{node}.take", str(Unknown("port", taken, list(ports))))
    takes = {}
    for port in ports.values():
        at = f"{where} nodes.{node}.take.{port.name}"
        if port.name in node_spec.take:
            takes[port.name] = _source(at, node_spec.take[port.name], port, spec, deployments)
        elif not port.is_optional:
            raise Misconfigured(at, f"{node_spec.use} needs a {port.type.__name__} here")
    gated = deployment.contract.gates
    if gated is not None and (gated not in takes or takes[gated].is_input):
        raise Misconfigured(f"{where} nodes.{node}.take.{gated}", f"{node_spec.use} guards what another node makes")
    _check_wires(f"{where} nodes.{node}.take", deployment, takes)
    step = Step(node, deployment, node_spec.params, takes)
    _check_params_statically(f"{where} nodes.{node}.with", step, spec)
    return step


def _check_wires(where: str, deployment: Deployment, takes: Mapping[str, Source]) -> None:
    """Raise Misconfigured where the weights need other ports than those that are connected."""
    wired = getattr(deployment.stage, "wired", None)
    # As in `_params`: outside of any configuration there are no weights to hold them against.
    if wired is not None and isinstance(deployment.weights, deployment.contract.weights):
        try:
            wired(deployment.weights, frozenset(takes))
        except InvalidInput as error:
            raise Misconfigured(f"{where}.{error.field}", error.reason) from error


def _source(where: str, wire: str, port: Port, spec: PipelineSpec, deployments: Mapping[str, Deployment]) -> Source:
    """Resolve one wire and hold its type against the port's."""
    if wire.startswith("$"):
        name = wire[1:]
        if name not in spec.inputs:
            raise Misconfigured(where, str(Unknown("input", name, list(spec.inputs))))
        input_spec = spec.inputs[name]
        kind: type | None = PORT_TYPES.get(input_spec.type)
        if input_spec.optional and not port.is_optional:
            raise Misconfigured(where, f"${name} may be left out, and this port needs a value")
    else:
        node_spec: NodeSpec | None = spec.nodes.get(wire)
        if node_spec is None:
            raise Misconfigured(where, str(Unknown("node", wire, list(spec.nodes))))
        maker = deployments.get(node_spec.use)
        if maker is None:
            at = f"{where.partition(' nodes.')[0]} nodes.{wire}.use"
            raise Misconfigured(at, str(Unknown("use", node_spec.use, list(deployments))))
        kind = maker.contract.output
    if kind is not port.type:
        raise Misconfigured(
            where, f"{wire} is a {kind.__name__ if kind else '?'}, and {port.name} takes a {port.type.__name__}"
        )
    return Source(wire.removeprefix("$"), wire.startswith("$"))


def _refuse_unused(where: str, spec: PipelineSpec, steps: Mapping[str, Step]) -> None:
    """An input or a node that nothing uses would be ignored in silence."""
    used_nodes = set(spec.outputs.values()) | {need for step in steps.values() for need in step.needs}
    for node in steps:
        if node not in used_nodes:
            raise Misconfigured(f"{where} nodes.{node}", "nothing takes its value and it is no output")
    used = {source.name for step in steps.values() for source in step.takes.values() if source.is_input}
    used |= {name for step in steps.values() for name in references(step.params).values()}
    for name in spec.inputs:
        if name not in used:
            raise Misconfigured(f"{where} inputs.{name}", "no node uses it")


def references(params: Mapping[str, Any]) -> dict[str, str]:
    """Return param -> input for every `$input` among ``params``."""
    return {key: value[1:] for key, value in params.items() if isinstance(value, str) and value.startswith("$")}


def _check_params_statically(where: str, step: Step, spec: PipelineSpec) -> None:
    """Check what can be known without a request: unknown names, fixed values, and the inputs' defaults."""
    fields = step.deployment.contract.params.model_fields
    for name in step.params:
        if name not in fields:
            raise Misconfigured(where, str(Unknown("param", name, list(fields))))
    refs = references(step.params)
    for param, name in refs.items():
        if name not in spec.inputs:
            raise Misconfigured(f"{where}.{param}", str(Unknown("input", name, list(spec.inputs))))
    if any(spec.inputs[name].is_required or spec.inputs[name].type == "seed" for name in refs.values()):
        return  # only a request can tell; `Plan.bind` checks it before anything is spent
    try:
        _params(step, spec.inputs, {name: spec.inputs[name].default for name in refs.values()})
    except BadRequest as error:
        raise Misconfigured(f"pipeline {spec.name} {error.field}", error.reason) from error


def _params(step: Step, specs: Mapping[str, InputSpec], inputs: Mapping[str, Any]) -> Strict:
    """Return the step's params with the request's values; a bad value is the input's fault and names it."""
    refs = references(step.params)
    values = {key: value for key, value in step.params.items() if key not in refs}
    # An optional input that was left out leaves the stage's own default in place.
    values |= {param: inputs[name] for param, name in refs.items() if inputs.get(name) is not None}
    contract = step.deployment.contract
    try:
        params = contract.params.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        param = str(first["loc"][0]) if first["loc"] else "params"
        raise InvalidInput(_blame(step, refs, param), first["msg"]) from error
    check = getattr(step.deployment.stage, "plan", None)
    if check is not None:
        try:
            check(params)
        except BadRequest as error:
            raise InvalidInput(_blame(step, refs, error.field), error.reason) from error
    fits = getattr(step.deployment.stage, "fits", None)
    # A pipeline that is compiled outside of any configuration has no weights to hold its params against.
    if fits is not None and isinstance(step.deployment.weights, contract.weights):
        fits(params, step.deployment.weights)
    return params


def _check_required_ports(step: Step, params: Strict, inputs: Mapping[str, Any]) -> None:
    """Raise InvalidInput for a port that the params cannot do without and that will get no value."""
    requires = getattr(step.deployment.stage, "requires", None)
    for port in () if requires is None else requires(params):
        source = step.takes.get(port)
        if source is None:
            raise InvalidInput(f"nodes.{step.node}.take.{port}", "is needed by these params, and nothing is connected")
        if source.is_input and inputs.get(source.name) is None:
            raise InvalidInput(f"inputs.{source.name}", f"is needed by the params of {step.node}")


def _blame(step: Step, refs: Mapping[str, str], param: str) -> str:
    """Name the input that set ``param``, or the node's own `with:` entry."""
    return f"inputs.{refs[param]}" if param in refs else f"nodes.{step.node}.with.{param}"


def deployment_of(name: str, stage_name: str, stage: type, weights: Mapping[str, Any]) -> Deployment:
    """Return ``stage`` with its weights checked; raise Misconfigured naming `stages.<name>.weights`."""
    contract = contract_of(stage_name, stage)
    try:
        return Deployment(name, stage, contract, contract.weights.model_validate(weights))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["stages", name, "weights", *map(str, first["loc"])])
        raise Misconfigured(where, first["msg"]) from error
