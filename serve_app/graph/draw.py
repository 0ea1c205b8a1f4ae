"""Drawing a plan as a mermaid flowchart, for people: the README, the API and `greenlight draw`."""

from __future__ import annotations

from serve_app.graph.plan import Plan, Step, references

_ROUND, _BOX, _GATE, _FILE = ("([", "])"), ("[", "]"), ("{", "}"), ("[/", "/]")


def mermaid(plan: Plan) -> str:
    """Return the plan as mermaid text: inputs round, gates as diamonds, outputs slanted, wires named by port.

    A dotted wire is an input that sets a param. Every name gets a prefix: `end`, for one, is a word of mermaid's own.
    """
    lines = ["flowchart LR"]
    lines += [f'    in_{name}{_ROUND[0]}"{name}"{_ROUND[1]}' for name in plan.inputs]
    for step in plan.steps:
        lines.append(f"    at_{step.node}{_shape(step)}")
        for port, source in step.takes.items():
            lines.append(f"    {'in' if source.is_input else 'at'}_{source.name} -->|{port}| at_{step.node}")
        for param, name in references(step.params).items():
            lines.append(f"    in_{name} -.->|{param}| at_{step.node}")
    for name, node in plan.outputs.items():
        lines += [f'    out_{name}{_FILE[0]}"{name}"{_FILE[1]}', f"    at_{node} --> out_{name}"]
    return "\n".join(lines)


def _shape(step: Step) -> str:
    left, right = _GATE if step.deployment.contract.gates else _BOX
    return f'{left}"{step.node}<br/>{step.deployment.name}"{right}'
