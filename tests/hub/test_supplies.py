"""What a profile needs, listed and fetched: nothing is lost that has another's title."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.commands.supplies import supply_all, survey, verify_all
from serve_app.core import depot
from serve_app.core.fetch import quiet
from serve_app.core.source import WebFile
from tests.hub.server import Hub


def test_two_files_whose_addresses_differ_in_the_query_are_two(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENLIGHT_CACHE", str(tmp_path))
    hub.plain["/a.bin"] = b"some bytes"
    sources = [WebFile(f"{hub.url}/a.bin?version={version}") for version in (1, 2)]
    assert sources[0].title == sources[1].title
    assert supply_all(survey(sources, 2), 2, lambda supply: quiet) == []
    kept = [depot.find(source) for source in sources]
    assert all(kept)
    for each in kept:
        assert each is not None
        each.path.write_bytes(b"evil bytes")
    assert len(verify_all(survey(sources, 2), 2)) == 2
