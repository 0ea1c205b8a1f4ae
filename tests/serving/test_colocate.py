"""Several stages in one replica: what the configuration may say of it, and what the check says of a profile."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from serve_app.config import AppConfig, deployments_of
from serve_app.core.errors import Misconfigured
from serve_app.serving.strict import problems_in
from tests.serving.documents import profile

GROUP = ["generate.animatic", "judge.fidelity", "upscale.edsr"]


def colocated(**head: Any) -> dict[str, Any]:
    """Return the demo profile with a group in it, whose head's entry has some options changed."""
    document = profile("demo", {"applications/0/args/colocate": [GROUP]})
    entries = document["applications"][0]["deployments"]
    kept = [entry for entry in entries if entry["name"] not in GROUP[1:]]
    for entry in kept:
        if entry["name"] == GROUP[0]:
            entry.update(head)
    document["applications"][0]["deployments"] = kept
    return document


def said(document: dict[str, Any]) -> str:
    return "\n".join(map(str, problems_in(document)))


def test_a_group_has_one_entry_under_the_name_of_its_head() -> None:
    assert said(colocated(max_ongoing_requests=6)) == ""


def test_an_entry_of_another_member_is_refused() -> None:
    document = profile("demo", {"applications/0/args/colocate": [GROUP]})
    assert "judge.fidelity is colocated: generate.animatic's entry is that of its whole group" in said(document)


def test_calls_of_one_member_must_not_keep_out_the_others() -> None:
    assert "2 is under two for each of its 3 colocated stages" in said(colocated(max_ongoing_requests=2))


@pytest.mark.parametrize(
    ("groups", "reason"),
    [([["a", "b"], ["b", "c"]], "b is named twice"), ([["a"]], "two members"), ([["a", "a"]], "a is named twice")],
)
def test_a_group_that_makes_no_sense_is_refused(groups: list[list[str]], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        AppConfig.model_validate({"pipelines": ["animatic-fidelity"], "colocate": groups})


def test_a_member_that_no_pipeline_uses_is_refused() -> None:
    config = AppConfig.model_validate(
        {"pipelines": ["animatic-fidelity"], "colocate": [["judge.fidelty", "encode.video"]]}
    )
    with pytest.raises(Misconfigured, match=r"judge\.fidelity"):
        deployments_of(config)


def test_members_and_hosts_are_found_by_name() -> None:
    config = AppConfig.model_validate({"pipelines": ["animatic-fidelity"], "colocate": [GROUP]})
    assert config.members_of("generate.animatic") == tuple(GROUP)
    assert config.host_of("upscale.edsr") == "generate.animatic"
    assert config.host_of("encode.video") == "encode.video"
    assert config.members_of("encode.video") == ("encode.video",)
