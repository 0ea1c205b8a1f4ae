"""Digests are the names of things, so they must never depend on how a thing was spelt."""

from __future__ import annotations

import hashlib
import io

import pytest

from serve_app.core import digest


def test_bytes_and_streams_have_the_same_digest() -> None:
    data = bytes(range(256)) * 10_000
    assert digest.of_stream(io.BytesIO(data)) == digest.of_bytes(data) == hashlib.sha256(data).hexdigest()


def test_the_order_of_keys_does_not_matter_and_the_order_of_a_list_does() -> None:
    assert digest.of_json({"a": 1, "b": [1, 2]}) == digest.of_json({"b": [1, 2], "a": 1})
    assert digest.of_json([1, 2]) != digest.of_json([2, 1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_what_json_cannot_say_has_no_digest(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        digest.of_json(value)
