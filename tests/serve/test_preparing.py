"""A judge that learns its picture over Serve while the generator works."""

from __future__ import annotations

from serve_app.commands.client import Client
from tests.serve.conftest import PHOTO


def test_the_judge_has_learnt_the_picture_before_there_is_a_clip(client: Client) -> None:
    run_id = client.submit("prepared", {"prompt": "push in", "image": PHOTO, "seed": 1}, {})
    assert list(client.follow(run_id))[-1].kind == "succeeded"
    (attempt,) = client.report(run_id)["attempts"]
    judge = next(step for step in attempt["steps"] if step["node"] == "judge")
    assert judge["notes"]["null"] in ("known", "awaited"), "it was learnt beside, not by the judgement itself"
    assert judge["warnings"] == []
