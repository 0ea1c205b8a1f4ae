"""`greenlight reference`: docs/reference.md, made from the code that it describes."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serve_app import environment
from serve_app.commands import families
from serve_app.commands.adapter_files import adapter_files
from serve_app.core import errors
from serve_app.core.stage import PORT_TYPES, Contract, contract_of
from serve_app.runs.model import RunState

STATES = {
    RunState.QUEUED: "Recorded, and waiting for a runner; also again, after its runner stopped or lost a replica.",
    RunState.RUNNING: "A runner holds its lease.",
    RunState.SUCCEEDED: "An attempt passed every gate; its outputs are there.",
    RunState.REJECTED: "A gate turned every attempt away. The evidence is there, the clip only with `keep: best`.",
    RunState.FAILED: "An error ended it; `error` has the code.",
    RunState.CANCELLED: "Somebody cancelled it.",
}
"""What each state means."""

EVENTS = {
    "run.started": ("claims", "A runner took the run up, for the `claims`th time."),
    "attempt.started": ("seed, of", "One of at most `of` attempts begins, with this seed."),
    "step.started": ("node, use", "A step was handed to its deployment."),
    "step.progress": ("node, done, of", "`done` of `of` units are finished on the device; at most every 0.2 s."),
    "step.finished": ("node, seconds, waited_s, value, warnings", "A step has its value, which is described here."),
    "step.retried": ("node, reason", "A step's replica was lost; the step is called again."),
    "attempt.restarted": ("reason", "A clip was lost on its way; the attempt is walked again, with the same seed."),
    "step.rejected": (
        "node, detector, frame, value, reason, is_final",
        "A gate turned the clip away; `is_final`: no other seed can help.",
    ),
    "attempt.finished": ("seed, seconds, rejection", "An attempt is over; `rejection` is null when it passed."),
    "budget.spent": (
        "budget_s or budget_usd",
        "One of the policy's budgets is used up, perhaps in the middle of a step.",
    ),
    "best.kept": ("seed", "Every attempt was rejected, and the policy has the best one finished."),
}
"""Kind: (names in its data, what happened). Each also has `attempt`. The final states are kinds too."""

RUN_CODES = {
    "abandoned": "The run was given up after `queue.max_claims` runners in a row died over it without a new result.",
    "internal": "An unforeseen error; the runner's log has its trace.",
}
"""Codes that a run's `error` may have beside those of the tree."""

_HEAD = """\
# Reference
Made by `greenlight reference > docs/reference.md`; a test fails when this file differs from the code.
"""
_PRELUDE = {
    "Stages": "The name goes into a node's `use`. Ports are connected by `take`, params are set by `with`, both in the "
    "pipeline. Weights are set in the configuration, under `stages`. A port in brackets may stay open.",
    "Families": "What becomes of each parameter, family by family: the argument of the family's own pipeline that it "
    "goes to, and what happens where that would ignore it.",
    "Adapter files": "Which files `adapt.lora` reads for which family, and how. [adapters.md](adapters.md) has more.",
    "Pipeline files": "What a pipeline's YAML may say. [pipelines.md](pipelines.md) explains it.",
    "Configuration": "The `args` of the application in a Serve config file, such as `serve_app/profiles/demo.yaml`. "
    "What else such a file says (replicas, CPUs, GPUs, ports) is Ray Serve's own.",
    "Environment variables": "All that Greenlight itself reads.",
    "Routes": "[http.md](http.md) explains them. GET implies HEAD, except for events.",
    "Error codes": "The `code` of a problem document, and of a run's `error`. An answer of 500 and above tells the "
    "caller its hint and an incident id; the log has the rest.",
    "Run states": "",
    "Event kinds": "In the order in which they happen. Each has `attempt` in its data, 0 before the first attempt.",
}


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("reference", help="print docs/reference.md", description=__doc__)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the reference."""
    sys.stdout.write(reference())
    return 0


def reference() -> str:
    """Return the whole page. The same code gives the same text."""
    from serve_app.config import AppConfig
    from serve_app.graph.spec import PipelineSpec

    bodies = {
        "Stages": "\n".join(_stages()),
        "Families": table(families.HEAD, families.rows()),
        "Adapter files": adapter_files("###"),
        "Pipeline files": fields(PipelineSpec.model_json_schema()),
        "Configuration": fields(AppConfig.model_json_schema()),
        "Environment variables": table(("Name", "Meaning"), [(f"`{k}`", v) for k, v in environment.NAMES.items()]),
        "Routes": table(("Method", "Path", "Does", "Answers", "Problems"), _routes()),
        "Error codes": table(("Code", "Status", "Means", "Hint"), _errors()),
        "Run states": table(("State", "Is final", "Means"), _states()),
        "Event kinds": table(("Kind", "Data", "Means"), _events()),
    }
    sections = (f"## {title}\n{_PRELUDE[title]}\n\n{body}".replace("\n\n\n", "\n\n") for title, body in bodies.items())
    return _HEAD + "\n" + "\n".join(sections)


def _stages() -> Iterator[str]:
    import deployments

    for name in deployments.names():
        stage: Any = deployments.locate(name)
        contract = contract_of(name, stage)
        yield f"### {name}\n{prose(stage)}\n\n{prose(stage.run)}\n\n{_signature(contract)}\n"
        for title, model in (("Params", stage.Params), ("Weights", stage.Weights)):
            if model.model_fields:
                yield f"{title}: {prose(model)}\n\n{fields(model.model_json_schema())}"


def _signature(contract: Contract) -> str:
    words: dict[type, str] = {}
    for word, kind in PORT_TYPES.items():
        words[kind] = f"{words[kind]} or {word}" if kind in words else word
    named = (f"`{port.name}`: {words[port.type]}" for port in contract.ports.values())
    shown = (f"({each})" if p.is_optional else each for each, p in zip(named, contract.ports.values(), strict=True))
    gates = f" A gate: it hands on `{contract.gates}` or rejects it." if contract.gates else ""
    return f"Ports: {', '.join(shown)}. Gives: {words[contract.output]}.{gates}"


def _routes() -> list[tuple[str, ...]]:
    from serve_app.http.routes import TABLE

    rows: list[tuple[str, ...]] = []
    for entry in TABLE:
        answers = ", ".join(map(str, (entry.status, *entry.also)))
        problems = ", ".join(map(str, (*entry.problems, 500)))
        rows.append((entry.method, f"`{entry.path}`", _first_line(entry.handler), answers, problems))
    return rows


def _errors() -> list[tuple[str, ...]]:
    tree = [thing for thing in vars(errors).values() if inspect.isclass(thing)]
    kinds = [thing for thing in tree if issubclass(thing, errors.GreenlightError)]
    rows = ((f"`{kind.code}`", str(kind.status), _first_line(kind), kind.hint) for kind in kinds)
    return [*rows, *((f"`{code}`", "", f"Of a run only. {meaning}", "") for code, meaning in RUN_CODES.items())]


def _states() -> list[tuple[str, ...]]:
    return [(f"`{state.value}`", "yes" if state.is_final else "no", STATES[state]) for state in RunState]


def _events() -> list[tuple[str, ...]]:
    rows = [(f"`{kind}`", f"`{data}`", meaning) for kind, (data, meaning) in EVENTS.items()]
    final = [state.value for state in RunState if state.is_final]
    return [*rows, *((f"`{kind}`", "`error`, if there is one", "The run's last event: its state.") for kind in final)]


def fields(schema: Mapping[str, Any]) -> str:
    """Return a table of every field in a pydantic model's JSON Schema, nested ones under dotted paths."""
    return table(("Field", "Takes", "Default", "Meaning"), list(_rows(schema, schema.get("$defs", {}), "")))


def _rows(node: Mapping[str, Any], known: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, each in node["properties"].items():
        default = "required" if name in node.get("required", ()) else value(each.get("default"))
        inner, step = _inner(each, known)
        meaning = each.get("description", "")
        if inner is None:
            yield f"`{prefix}{name}`", takes(each), default, meaning
        else:
            yield f"`{prefix}{name}`", "a mapping" if step else "see below", "" if not step else default, meaning
            yield from _rows(inner, known, f"{prefix}{name}{step}.")


def _inner(each: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """Return the schema of the mapping behind a field, if it has fields of its own, and the step that leads there."""
    members = _members(each)
    node, step = (members, ".<name>") if isinstance(members, dict) else (each, "")
    for option in (node, *node.get("anyOf", ())):
        model = known.get(option.get("$ref", "").rpartition("/")[2])
        if model is not None and "properties" in model:
            return model, step
    return None, ""


def _members(each: Mapping[str, Any]) -> Any:
    """Return the schema of a mapping's values, if it says so; a pattern for its keys comes around them."""
    return next(iter(each.get("patternProperties", {}).values()), each.get("additionalProperties"))


def takes(each: Mapping[str, Any]) -> str:
    """Say in words what a JSON Schema admits: type, choices, range."""
    if "anyOf" in each:
        return " or ".join(takes(option) for option in each["anyOf"])
    if "enum" in each or "const" in each:
        return ", ".join(f"`{_plain(choice)}`" for choice in each.get("enum", [each.get("const")]))
    kind = {"null": "none", "string": "text", "object": "a mapping", "array": "a list"}.get(
        each.get("type", "any value"), each.get("type", "any value")
    )
    if each.get("format") == "path":
        kind = "a path"
    if "items" in each:
        kind = f"a list of {takes(each['items'])}"
    elif isinstance(_members(each), dict):
        kind = f"a mapping of name to {takes(_members(each))}"
    return " ".join([kind, *_bounds(each)])


def _bounds(each: Mapping[str, Any]) -> Iterator[str]:
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    words |= {"minItems": "of at least", "minLength": "of at least", "maxLength": "of at most"}
    yield from (f"{word} {each[key]:.10g}" for key, word in words.items() if key in each)
    if "pattern" in each:
        yield f"like `{each['pattern']}`"


def value(of: Any) -> str:
    """Return a default as the tables show it."""
    return "none" if of is None else f"`{_plain(of)}`"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([" ".join(cell.split()).replace("|", "\\|").replace("``", "`") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


def prose(thing: Any) -> str:
    """Return a docstring as Markdown; reStructuredText's double backticks become single ones."""
    return inspect.cleandoc(thing.__doc__ or "").replace("``", "`")


def _first_line(thing: Any) -> str:
    return prose(thing).partition("\n\n")[0]
