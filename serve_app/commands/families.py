"""What each generator does with each parameter: a table for the reference, made from the stages themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve_app.core.stage import contract_of

PUBLIC = (
    "steps",
    "guidance",
    "seed",
    "negative_prompt",
    "width",
    "height",
    "frames",
    "fps",
    "image",
    "strength",
    "adapters",
)
"""The words that mean the same in every family, in the order in which they are shown; a family's own follow."""

HEAD = ("Parameter", "Stage", "Goes to", "Takes", "Default")

_PORTS = {
    "seed": "0 to 2**63 - 1",
    "image": "a picture of any size",
    "middle_image": "a picture of any size",
    "last_image": "a picture of any size",
    "adapters": "what adapt.lora gives",
    "conditioning": "what adapt.ltx2_prompt gives",
}


def rows() -> list[tuple[str, ...]]:
    """Return a row for every parameter of every generator that has a `mapping`, by parameter."""
    import deployments

    found: list[tuple[str, ...]] = []
    for name in deployments.names():
        stage: Any = deployments.locate(name)
        mapping: Mapping[str, str] = getattr(stage, "mapping", {})
        fields = stage.Params.model_json_schema()["properties"] if mapping else {}
        ports = contract_of(name, stage).ports
        found += [_row(word, name, mapping[word], fields.get(word), word in ports) for word in mapping]
    order = {word: place for place, word in enumerate(PUBLIC)}
    return sorted(found, key=lambda row: (order.get(row[0].strip("`"), len(order)), row[0], row[1]))


def _row(word: str, stage: str, goes_to: str, field: Mapping[str, Any] | None, is_port: bool) -> tuple[str, ...]:
    from serve_app.commands.reference import takes, value

    kind, default = "", ""
    if field is not None:
        kind = takes(field)
        default = value(field["default"]) if "default" in field else "required"
        if field.get("default", ...) is None:
            default = field.get("description", "none")  # it says what an absent value becomes
    elif is_port:
        kind, default = f"a port: {_PORTS[word]}", "required" if word == "seed" else "none"
    return f"`{word}`", f"`{stage}`", goes_to, kind, default
