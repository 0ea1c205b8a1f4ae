"""What a pipeline file may say."""

from pathlib import Path
from typing import Any

import pytest

from serve_app.core.errors import Misconfigured, Unknown
from serve_app.graph.spec import InputSpec, find_pipeline, parse_pipeline, read_yaml, shipped
from tests.graph.tiny import document


def test_an_input_may_be_written_as_its_type_alone() -> None:
    inputs = parse_pipeline(document(), "tiny.yaml").inputs
    assert inputs["prompt"] == InputSpec(type="text")


@pytest.mark.parametrize(
    ("spec", "is_required"),
    [
        ({"type": "text"}, True),
        ({"type": "text", "default": "a"}, False),
        ({"type": "text", "optional": True}, False),
        ({"type": "seed"}, False),
        ({"type": "boolean", "default": False}, False),
    ],
)
def test_an_input_is_required_unless_something_stands_in_for_it(spec: dict[str, Any], is_required: bool) -> None:
    assert InputSpec.model_validate(spec).is_required is is_required


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", 2, "version: Input should be 1"),
        ("name", "Has Spaces", "name: String should match pattern"),
        ("nodes", {}, "nodes: "),
        ("outputs", {}, "outputs: "),
        ("steps", [], "steps: Extra inputs are not permitted"),
        ("inputs.prompt", "prose", "inputs.prompt.type: Input should be 'text', 'integer'"),
        ("inputs.prompt", {"type": "text", "min": 1}, "inputs.prompt.min: Extra inputs are not permitted"),
        ("nodes.draft.params", {}, "nodes.draft.params: Extra inputs are not permitted"),
        ("nodes.draft.use", None, "nodes.draft.use: Field required"),
        ("nodes.@end", {"use": "make"}, "nodes.@end.[key]: String should match pattern"),
        ("outputs.a/b", "file", "outputs.a/b.[key]: String should match pattern"),
        ("policy", {"attempts": 0}, "policy.attempts: Input should be greater than or equal to 1"),
        ("policy", {"attempts": 21}, "policy.attempts: Input should be less than or equal to 20"),
        ("policy", {"budget_s": 0}, "policy.budget_s: Input should be greater than 0"),
        ("policy", {"vary": "prompt"}, "policy.vary: Input should be 'seed' or 'nothing'"),
        ("policy", {"keep": "all"}, "policy.keep: Input should be 'best' or 'none'"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_dotted_path(path: str, value: Any, message: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_pipeline(document({path: value}), "tiny.yaml")
    assert str(caught.value).startswith("tiny.yaml: ")
    assert message in caught.value.reason


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        parse_pipeline(document({"version": 3, "policy": {"attempts": 0}}), "tiny.yaml")
    assert "version: " in caught.value.reason
    assert "policy.attempts: " in caught.value.reason


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_pipeline_is_a_mapping(value: Any) -> None:
    with pytest.raises(Misconfigured, match=r"^tiny.yaml: a pipeline is a mapping with version, name"):
        parse_pipeline(value, "tiny.yaml")


def test_a_key_given_twice_is_an_error_and_not_the_last_one_winning(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("nodes:\n  draft: {use: a}\n  draft: {use: b}\n")
    with pytest.raises(Misconfigured, match="given twice: draft"):
        read_yaml(file)


@pytest.mark.parametrize("text", ["a: [1", "a: 1\n---\nb: 2\n", "a: !!python/object:os.system x"])
def test_bad_yaml_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(Misconfigured) as caught:
        read_yaml(file)
    assert caught.value.where == str(file)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bytes.yaml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Misconfigured, match=r"bytes\.yaml"):
        read_yaml(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file"):
        find_pipeline(str(tmp_path / "none.yaml"))


def test_a_shipped_pipeline_is_found_by_its_name() -> None:
    for name in shipped():
        assert find_pipeline(name).name == name


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(Unknown, match=r"there is no 'animatic-fidelty'; did you mean animatic-fidelity"):
        find_pipeline("animatic-fidelty")
