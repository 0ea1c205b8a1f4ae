"""Prompts that travel: how large they are, and which model may read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serve_app.core.conditioning import Conditioning, EncodedPrompt, Encoder
from serve_app.core.errors import Misconfigured
from serve_app.graph.record import describe_value

ENCODER = Encoder("ltx2", "Lightricks/LTX-2", None, "2.0", "bfloat16", config="c", connectors="w")


def _prompt(text: str) -> EncodedPrompt:
    return EncodedPrompt(text, {"video": np.zeros((1, 128, 4), np.uint16), "mask": np.ones((1, 128), np.int64)}, 0)


@pytest.mark.parametrize("field", ["model", "revision", "version", "dtype", "config", "connectors"])
def test_a_prompt_of_another_encoder_is_refused_by_what_differs(field: str) -> None:
    with pytest.raises(Misconfigured, match=rf"encoded with the {field} other, and the transformer's is"):
        replace(ENCODER, **{field: "other"}).require(ENCODER)


def test_the_same_encoder_is_accepted_also_where_one_has_no_connectors_to_compare() -> None:
    for one in (ENCODER, replace(ENCODER, connectors=None)):
        one.require(ENCODER)
        ENCODER.require(one)


def test_a_report_says_what_it_is_and_not_what_is_in_it() -> None:
    made = Conditioning(ENCODER, 128, _prompt("a fox"), _prompt("blurry"))
    assert made.size_bytes == 2 * (1024 + 1024)
    assert describe_value(made) == {
        "type": "conditioning",
        "model": "Lightricks/LTX-2",
        "tokens": 128,
        "bytes": 4096,
        "has_negative": True,
    }
