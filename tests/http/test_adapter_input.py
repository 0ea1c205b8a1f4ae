"""An input of type adapter as it comes over the wire."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.core.errors import InvalidInput, TooLarge
from serve_app.http.form import Part
from serve_app.http.inputs import convert
from serve_app.http.service import Limits

DECLARED = {"adapter": {"type": "adapter", "aliases": ["lora_name"]}}


@pytest.mark.parametrize("given", ["anime-v2@0.8", ["anime-v2@0.8", "film"], []])
def test_text_and_lists_of_text_pass_as_they_are(given: Any) -> None:
    assert convert(DECLARED, {"lora_name": given}, Limits()) == {"lora_name": given}


def test_a_forms_field_is_text() -> None:
    part = Part("inputs.adapter", None, b"anime-v2@0.8,film")
    assert convert(DECLARED, {"adapter": part}, Limits()) == {"adapter": "anime-v2@0.8,film"}


@pytest.mark.parametrize("given", [3, {"name": "a"}, ["a", 3], True, [["a"]]])
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        convert(DECLARED, {"adapter": given}, Limits())
    assert caught.value.field == "inputs.adapter"


def test_too_much_text_is_refused() -> None:
    with pytest.raises(TooLarge):
        convert(DECLARED, {"adapter": ["a" * 1000] * 1000}, Limits())
