from __future__ import annotations

import math
from typing import Any

import pytest

from serve_app.core.errors import InvalidInput
from serve_app.runs.model import (
    RunRequest,
    RunState,
    check_pipeline_name,
    check_run_id,
    is_run_id,
    new_run_id,
    request_digest,
)


def _request(**changes: Any) -> RunRequest:
    fields = {"id": "one", "pipeline": "demo", "inputs": {"prompt": "a red kite"}, "policy": {"attempts": 3}}
    return RunRequest(**{**fields, **changes})


def test_queued_and_running_are_not_final_and_everything_else_is() -> None:
    assert [state.value for state in RunState if not state.is_final] == ["queued", "running"]


def test_a_new_run_id_is_a_legal_run_id_of_thirty_characters() -> None:
    run_id = new_run_id()
    assert check_run_id(run_id) == run_id
    assert run_id.startswith("run_")
    assert len(run_id) == 30


def test_new_run_ids_sort_in_the_order_of_their_time() -> None:
    times_s = [0.001, 1.0, 1_700_000_000.0, 1_700_000_000.001, 4_000_000_000.0]
    run_ids = [new_run_id(now_s) for now_s in times_s]
    assert sorted(run_ids) == run_ids


def test_new_run_ids_of_the_same_millisecond_differ() -> None:
    assert len({new_run_id(1_700_000_000.0) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("run_id", ["", "a" * 65, "a/b", "../etc", "a b", "run\n", "naïve", "a\x00", "a.b"])
def test_an_id_that_is_unsafe_in_a_url_is_refused_by_name(run_id: str) -> None:
    assert not is_run_id(run_id)
    with pytest.raises(InvalidInput) as caught:
        check_run_id(run_id)
    assert caught.value.field == "id"


@pytest.mark.parametrize("name", ["", "a" * 201, "a\x00b", "two\nlines", "\ud800"])
def test_a_pipeline_name_that_a_database_would_refuse_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_pipeline_name(name)
    assert caught.value.field == "pipeline"


def test_the_digest_does_not_depend_on_the_id_nor_on_the_order_of_keys() -> None:
    one = _request(id="one", inputs={"a": 1, "b": 2})
    two = _request(id="two", inputs={"b": 2, "a": 1})
    assert request_digest(one) == request_digest(two)


@pytest.mark.parametrize("changes", [{"pipeline": "other"}, {"inputs": {}}, {"policy": {}}])
def test_the_digest_changes_with_what_is_asked(changes: dict[str, Any]) -> None:
    assert request_digest(_request(**changes)) != request_digest(_request())


@pytest.mark.parametrize("field", ["inputs", "policy"])
@pytest.mark.parametrize("value", [math.nan, math.inf, b"bytes"])
def test_what_json_cannot_say_is_refused_with_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        request_digest(_request(**{field: {"x": value}}))
    assert caught.value.field == field


def test_a_policys_later_fields_count_only_where_they_say_something() -> None:
    before, none = {"attempts": 3, "budget_s": None}, {"budget_usd": None, "max_seconds": None, "max_cost_usd": None}
    assert request_digest(_request(policy={**before, **none})) == request_digest(_request(policy=before))
    assert request_digest(_request(policy={**before, "budget_usd": 1.0})) != request_digest(_request(policy=before))
    assert request_digest(_request(policy={"attempts": 3})) != request_digest(_request(policy=before))
