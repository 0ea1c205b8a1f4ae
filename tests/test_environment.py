"""The one reader of the process environment."""

import pytest

from serve_app import environment
from serve_app.core.errors import Misconfigured


def test_the_server_is_on_this_machine_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GREENLIGHT_URL", raising=False)
    assert environment.server_url() == "http://127.0.0.1:8000"


def test_a_trailing_slash_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENLIGHT_URL", "https://video.example/green/")
    assert environment.server_url() == "https://video.example/green"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host/?a=b", ""])
def test_what_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GREENLIGHT_URL", url)
    with pytest.raises(Misconfigured, match="GREENLIGHT_URL: "):
        environment.server_url()
