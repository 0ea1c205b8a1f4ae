"""What a request may say of adapters, and what travels."""

from typing import Any

import pytest

from serve_app.core.adapter import MOST_ADAPTERS, Adapter, Adapters, WantedAdapter, WantedAdapters
from serve_app.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("anime-v2", [("anime-v2", None)]),
        ("anime-v2@0.8", [("anime-v2", 0.8)]),
        (" anime-v2@.5 , film_grain.v3@-1e-1 ", [("anime-v2", 0.5), ("film_grain.v3", -0.1)]),
        (["character-42", "style@2"], [("character-42", None), ("style", 2.0)]),
        ("off@0", [("off", 0.0)]),
    ],
)
def test_names_and_strengths_are_read(given: Any, wanted: list[tuple[str, float | None]]) -> None:
    assert WantedAdapters.parse(given).items == tuple(WantedAdapter(*each) for each in wanted)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "@1",
        "a b",
        "../secret",
        "..",
        ".hidden",
        "a/b",
        "a\\b",
        "a\x00b",
        "https://example.com/a.safetensors",
        "/etc/passwd",
        "$(reboot)",
        "a@",
        "a@nan",
        "a@inf",
        "a@1e999",
        "a@0x10",
        "a@1@2",
        "a,,b",
        "é",
        "x" * 129,
        [],
        ["a", 3],
        3,
        None,
        {"name": "a"},
        ",".join(f"a{index}" for index in range(MOST_ADAPTERS + 1)),
    ],
)
def test_what_is_no_name_or_strength_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        WantedAdapters.parse(given, "inputs.adapter")
    assert caught.value.field == "inputs.adapter"


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="named twice"):
        WantedAdapters.parse("a@0.5,b,a@0.25")


def test_adapters_survive_json() -> None:
    one = Adapter("a", "0" * 64, 0.8, "wan", "kohya", "bf16", (4, 64), 10, 20, 999, ("transformer",), ("ohwx",), True)
    adapters = Adapters((one,))
    assert Adapters.from_json(adapters.as_json()) == adapters


def test_a_strength_beyond_reason_is_refused() -> None:
    with pytest.raises(InvalidInput, match="beyond 100"):
        WantedAdapters.parse("x@1e39")
