"""What a guidance stands for."""

from __future__ import annotations

import pytest

from deployments.nets.guidance import check_guidance, is_guided
from serve_app.core.errors import InvalidInput


@pytest.mark.parametrize(("guidance", "guided"), [(0.0, False), (1.0, False), (1.01, True), (4.0, True)])
def test_one_and_nought_are_off(guidance: float, guided: bool) -> None:
    check_guidance(guidance)
    assert is_guided(guidance) is guided


def test_no_guidance_is_nothing_to_check() -> None:
    check_guidance(None)


@pytest.mark.parametrize("guidance", [0.01, 0.5, 0.99])
def test_what_lies_between_is_refused(guidance: float) -> None:
    with pytest.raises(InvalidInput, match="guidance: "):
        check_guidance(guidance)
