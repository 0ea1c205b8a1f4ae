"""What every stage must be, applied to each on arrival: a new file in `deployments` needs no entry here."""

import ast
import inspect
import json
import subprocess
import sys

import pytest
from pydantic import BaseModel

import deployments
from serve_app.core.stage import PORT_TYPES, Strict, contract_of

STAGES = deployments.names()
HEAVY = ("torch", "diffusers", "transformers", "peft", "cv2", "av", "ray")


@pytest.mark.parametrize("name", STAGES)
def test_its_contract_can_be_read(name: str) -> None:
    contract = contract_of(name, deployments.locate(name))
    assert contract.ports
    assert {port.type for port in contract.ports.values()} | {contract.output} <= set(PORT_TYPES.values())


@pytest.mark.parametrize("name", STAGES)
def test_a_gate_hands_on_what_it_gates(name: str) -> None:
    contract = contract_of(name, deployments.locate(name))
    assert contract.gates is None or contract.ports[contract.gates].type is contract.output


@pytest.mark.parametrize("name", STAGES)
def test_run_takes_params_and_ports_and_nothing_else(name: str) -> None:
    parameters = list(inspect.signature(deployments.locate(name).run).parameters.values())  # type: ignore[attr-defined]
    assert [parameter.name for parameter in parameters[:2]] == ["self", "params"]
    assert {parameter.kind for parameter in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name", STAGES)
def test_a_port_that_may_stay_open_defaults_to_none(name: str) -> None:
    stage = deployments.locate(name)
    defaults = inspect.signature(stage.run).parameters  # type: ignore[attr-defined]
    for port in contract_of(name, stage).ports.values():
        assert defaults[port.name].default is (None if port.is_optional else inspect.Parameter.empty)


@pytest.mark.parametrize("name", STAGES)
def test_it_says_what_it_does(name: str) -> None:
    stage = deployments.locate(name)
    for thing in (stage, stage.run, stage.load, stage.Weights, stage.Params):  # type: ignore[attr-defined]
        assert "__doc__" in vars(thing) if inspect.isclass(thing) else thing.__doc__, thing
        assert thing.__doc__, thing


@pytest.mark.parametrize("part", ["Weights", "Params"])
@pytest.mark.parametrize("name", STAGES)
def test_every_field_refuses_strangers_and_is_documented(name: str, part: str) -> None:
    model: type[BaseModel] = getattr(deployments.locate(name), part)
    assert issubclass(model, Strict)
    prose = model.__doc__ or ""
    sizes = {"width", "height"} if "px" in prose else set()
    silent = [
        field
        for field, info in model.model_fields.items()
        if not info.description and f"``{field}``" not in prose and field not in sizes
    ]
    assert not silent, f"{name}.{part}: give these a description, or name them in the docstring"


@pytest.mark.parametrize("name", STAGES)
def test_its_defaults_are_params_of_its_own(name: str) -> None:
    stage = deployments.locate(name)
    required = [field for field in stage.Params.model_fields.values() if field.is_required()]  # type: ignore[attr-defined]
    if not required and hasattr(stage, "plan"):
        stage.plan(stage.Params())  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", STAGES)
def test_plan_needs_no_stage_object(name: str) -> None:
    plan = vars(deployments.locate(name)).get("plan")
    assert plan is None or isinstance(plan, staticmethod)


@pytest.mark.parametrize("name", STAGES)
def test_its_file_holds_no_state_of_its_own(name: str) -> None:
    """A module-level dict that a call writes to would be shared by two deployments of the stage in one process."""
    source = inspect.getsource(sys.modules[deployments.locate(name).__module__])
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Global)]


def test_looking_at_every_stage_imports_nothing_heavy() -> None:
    code = f"""
import json, sys, deployments
from serve_app.core.stage import contract_of
for name in deployments.names():
    contract_of(name, deployments.locate(name))
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
