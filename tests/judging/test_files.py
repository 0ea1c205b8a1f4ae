"""Which files are meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve_app.commands.judging.files import find, shown
from serve_app.core.errors import InvalidInput
from tests.judging.films import pan, still

PNG = still(pan(1)[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.png", "a_picture_without_an_ending", "deep/c.png", ".hidden/d.png", ".e.png"):
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "broken.mp4").write_bytes(b"")
    return tmp_path


def names(folder: Path, is_deep: bool) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find([folder], is_deep).paths]


def test_a_folder_is_its_pictures_and_whatever_claims_to_be_one(folder: Path) -> None:
    assert names(folder, is_deep=False) == ["a_picture_without_an_ending", "b.png", "broken.mp4"]
    assert [path.name for path in find([folder], False).others] == ["notes.txt"]


def test_folders_within_are_entered_on_request_and_hidden_ones_never(folder: Path) -> None:
    assert names(folder, is_deep=True) == ["a_picture_without_an_ending", "b.png", "broken.mp4", "deep/c.png"]


def test_a_file_that_is_named_is_judged_whatever_it_is_and_once(folder: Path) -> None:
    given = [folder / "notes.txt", folder / "b.png", folder / "deep" / ".." / "b.png", folder / ".e.png"]
    assert [path.name for path in find(given, False).paths] == ["notes.txt", "b.png", ".e.png"]


def test_what_does_not_exist_and_what_is_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no file or folder"):
        find([tmp_path / "nowhere.png"], False)
    with pytest.raises(InvalidInput, match="-r looks into folders"):
        find([tmp_path], False)


def test_a_name_that_is_no_text_can_still_be_shown() -> None:
    assert shown(Path(os.fsdecode(b"caf\xe9\n.png"))) == "caf\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.png"


def test_a_pipe_is_not_opened(folder: Path) -> None:
    """Nobody writes to it: reading would wait for ever."""
    os.mkfifo(folder / "a.png")
    os.mkfifo(folder / "without_an_ending")
    assert names(folder, is_deep=False) == ["a_picture_without_an_ending", "b.png", "broken.mp4"]
    with pytest.raises(InvalidInput, match="a pipe"):
        find([folder / "a.png"], False)
