"""What a pipeline file may say. Wiring only: no conditionals, loops, expressions or templates, ever."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, StringConstraints, ValidationError

from serve_app.core.errors import Misconfigured, Unknown
from serve_app.core.stage import Strict

SHIPPED = Path(__file__).parent.parent / "pipelines"

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
"""What an input, a node or an output is called. Names become files, parts of addresses, and words in a drawing."""

InputType = Literal["text", "integer", "number", "boolean", "seed", "image", "clip", "adapter"]


class InputSpec(Strict):
    """One thing that a request may give. `prompt: text` is short for `prompt: {type: text}`."""

    type: InputType
    default: Any = None
    optional: bool = Field(False, description="may be left out though it has no default; wires to optional ports only")
    description: str = ""
    minimum: float | None = None
    maximum: float | None = None
    aliases: tuple[str, ...] = Field((), description="other names that callers of this family expect")

    @property
    def is_required(self) -> bool:
        """True when a request must give it. A seed need not be given: one is drawn and recorded."""
        return self.default is None and not self.optional and self.type != "seed"


def _long_form(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class NodeSpec(Strict):
    """A stage's box in the graph."""

    use: str = Field(description="a stage's name, or a deployment's name from the configuration")
    params: dict[str, Any] = Field(default={}, alias="with", description="fixed values, or `$input` for a request's")
    take: dict[str, str] = Field(default={}, description="port: a node's name, or `$input`")


class RunPolicy(Strict):
    """What happens when a gate rejects: how many attempts, what changes between them, and when to stop."""

    attempts: int = Field(1, ge=1, le=20, description="tries in all")
    vary: Literal["seed", "nothing"] = Field("seed", description="what differs between attempts")
    budget_s: float | None = Field(None, gt=0, description="seconds of work for all attempts; then the run ends")
    budget_usd: float | None = Field(
        None, gt=0, description="USD for all attempts; then the run ends, in the middle of a step too"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="a target, in `budget_s`'s seconds: missed, it is a warning"
    )
    max_cost_usd: float | None = Field(
        None, gt=0, description="a target, in USD: missed, it is a warning and ends nothing"
    )
    keep: Literal["best", "none"] = Field(
        "none",
        description="when every attempt is rejected: finish and deliver the best one, marked rejected, or nothing",
    )


class PipelineSpec(Strict):
    """A named graph in one YAML file."""

    version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    description: str = ""
    inputs: dict[Name, Annotated[InputSpec, BeforeValidator(_long_form, json_schema_input_type=InputSpec | InputType)]]
    nodes: dict[Name, NodeSpec] = Field(min_length=1)
    outputs: dict[Name, str] = Field(min_length=1, description="name: the node that makes it")
    policy: RunPolicy = RunPolicy()


class UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raise ConstructorError for a key that is in it twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"given twice: {', '.join(sorted(twice))}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Return the one YAML document in ``path``; raise Misconfigured for a missing file, bad YAML or a repeated key."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=UniqueKeys)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Misconfigured(str(path), " ".join(str(error).split())) from error


def shipped() -> dict[str, Path]:
    """Return the pipelines that come with Greenlight: name -> file."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def is_file_name(name_or_path: str) -> bool:
    """Whether a pipeline is named by its file, and not by its name."""
    return name_or_path.endswith((".yaml", ".yml"))


def find_pipeline(name_or_path: str) -> PipelineSpec:
    """Return the shipped pipeline of that name, or the one in that YAML file; raise Unknown or Misconfigured."""
    path = shipped().get(name_or_path)
    if path is None:
        if not is_file_name(name_or_path):
            raise Unknown("pipeline", name_or_path, list(shipped()))
        path = Path(name_or_path)
    return parse_pipeline(read_yaml(path), str(path))


def parse_pipeline(document: Any, where: str) -> PipelineSpec:
    """Return ``document`` as a pipeline; raise Misconfigured with every mistake and its dotted path."""
    if not isinstance(document, Mapping):
        raise Misconfigured(where, "a pipeline is a mapping with version, name, inputs, nodes and outputs")
    try:
        return PipelineSpec.model_validate(document)
    except ValidationError as error:
        raise Misconfigured(where, describe(error)) from error


def describe(error: ValidationError) -> str:
    """Return every mistake of a pydantic error on one line: `dotted.path: message; ...`."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']}" for e in error.errors())
