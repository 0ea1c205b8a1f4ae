"""An origin as text: always the same bytes, and nobody else's is taken for it."""

from __future__ import annotations

import pytest

from serve_app.core.origin import as_text, origin_in, signed

ORIGIN = {"stage": "generate.flux", "seed": 7, "prompt": "café", "params": {"b": 1, "a": [2.5]}}


def test_the_order_of_keys_does_not_matter_and_the_text_is_ascii() -> None:
    assert as_text(ORIGIN) == as_text(dict(reversed(ORIGIN.items())))
    assert as_text(ORIGIN).isascii()


def test_a_signed_text_is_read_again() -> None:
    assert origin_in(signed(ORIGIN)) == ORIGIN


@pytest.mark.parametrize("text", ['{"seed": 7}', "model: x", "[1]", "", "[" * 100_000, '{"software": "Other"}'])
def test_the_text_of_another_is_no_origin(text: str) -> None:
    assert origin_in(text) is None


def test_what_the_file_itself_claims_for_us_is_one() -> None:
    assert origin_in('{"seed": 7}', is_ours=True) == {"seed": 7}


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        as_text({"params": {"scale": float("nan")}})
