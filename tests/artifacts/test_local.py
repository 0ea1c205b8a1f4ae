from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serve_app.artifacts.local import LocalArtifacts
from serve_app.core.artifact import Artifact, ArtifactStore
from serve_app.core.errors import Misconfigured, Unknown

_BYTES = b"not really a film" * 1000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(directory: Path) -> ArtifactStore:
    return LocalArtifacts(directory)


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _put(store: ArtifactStore, data: bytes = _BYTES) -> Artifact:
    return store.put_bytes(data, "video/mp4", "film.mp4", {"fps": "24"})


def test_bytes_come_back_under_their_digest(store: ArtifactStore) -> None:
    artifact = _put(store)
    assert artifact.digest == hashlib.sha256(_BYTES).hexdigest()
    assert store.path_of(artifact.digest).read_bytes() == _BYTES


def test_the_artifact_carries_its_description(store: ArtifactStore) -> None:
    artifact = _put(store)
    assert (artifact.media_type, artifact.size_bytes, artifact.name) == ("video/mp4", len(_BYTES), "film.mp4")
    assert artifact.facts == {"fps": "24"}


def test_the_file_lies_under_the_first_two_digits(store: ArtifactStore, directory: Path) -> None:
    digest = _put(store).digest
    assert store.path_of(digest) == directory / digest[:2] / digest


def test_the_same_bytes_twice_are_kept_once_and_not_touched_again(store: ArtifactStore, directory: Path) -> None:
    first = store.path_of(_put(store).digest).stat()
    second = store.path_of(_put(store).digest).stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    assert len(_files(directory)) == 1


def test_a_file_is_moved_in_when_nobody_else_has_it(store: ArtifactStore, directory: Path, tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(_BYTES)
    inode = source.stat().st_ino
    artifact = store.put_file(source, "video/mp4", "film.mp4", {})
    assert store.path_of(artifact.digest).stat().st_ino == inode
    assert not source.exists()
    assert artifact == store.put_bytes(_BYTES, "video/mp4", "film.mp4", {})


def test_a_file_with_a_second_name_is_copied_so_that_writing_to_it_changes_nothing(
    store: ArtifactStore, tmp_path: Path
) -> None:
    source, twin = tmp_path / "film.mp4", tmp_path / "twin.mp4"
    source.write_bytes(_BYTES)
    twin.hardlink_to(source)
    artifact = store.put_file(source, "video/mp4", "film.mp4", {})
    twin.write_bytes(b"something else")
    assert store.path_of(artifact.digest).read_bytes() == _BYTES


def test_a_symbolic_link_gives_its_targets_bytes_and_leaves_the_target(store: ArtifactStore, tmp_path: Path) -> None:
    target, link = tmp_path / "film.mp4", tmp_path / "link.mp4"
    target.write_bytes(_BYTES)
    link.symlink_to(target)
    artifact = store.put_file(link, "video/mp4", "film.mp4", {})
    assert not store.path_of(artifact.digest).is_symlink()
    assert target.read_bytes() == _BYTES


def test_an_empty_file_is_an_artifact_too(store: ArtifactStore) -> None:
    assert store.path_of(_put(store, b"").digest).read_bytes() == b""


def test_nobody_may_write_to_an_artifact(store: ArtifactStore) -> None:
    mode = store.path_of(_put(store).digest).stat().st_mode
    assert stat.S_IMODE(mode) == 0o444


@pytest.mark.parametrize(
    "digest",
    ["0" * 64, "", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "0" * 60 + "/../", "\x00" * 64],
)
def test_a_digest_that_names_nothing_is_unknown(store: ArtifactStore, digest: str) -> None:
    with pytest.raises(Unknown) as caught:
        store.path_of(digest)
    assert caught.value.field == "artifact"


def test_a_file_of_the_store_is_not_reachable_by_a_path_in_place_of_a_digest(
    store: ArtifactStore, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("x")
    with pytest.raises(Unknown):
        store.path_of("../secret")


def test_a_copy_that_lost_its_end_is_replaced_by_the_whole(store: ArtifactStore) -> None:
    path = store.path_of(_put(store).digest)
    path.chmod(0o644)
    path.write_bytes(_BYTES[:100])
    _put(store)
    assert path.read_bytes() == _BYTES


def test_a_missing_source_is_an_error_and_leaves_nothing_behind(
    store: ArtifactStore, directory: Path, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "nothing.mp4", "video/mp4", "nothing.mp4", {})
    assert _files(directory) == []


def test_unfinished_files_are_cleared_after_a_day_and_not_before(directory: Path) -> None:
    LocalArtifacts(directory)
    old, new = directory / "incoming" / "old.part", directory / "incoming" / "new.part"
    old.touch()
    new.touch()
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    LocalArtifacts(directory)
    assert [path.name for path in _files(directory)] == ["new.part"]


def test_a_directory_that_cannot_be_made_is_a_misconfiguration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="artifacts cannot be kept here"):
        LocalArtifacts(tmp_path / "file" / "artifacts")


_PUT_MANY = """
import sys
from pathlib import Path
from serve_app.artifacts.local import LocalArtifacts
store = LocalArtifacts(Path(sys.argv[1]))
for number in range(40):
    data = str(number).encode() * 50_000
    artifact = store.put_bytes(data, "text/plain", "n.txt", {})
    assert store.path_of(artifact.digest).read_bytes() == data
"""


def test_processes_that_put_the_same_bytes_at_once_all_read_whole_files(directory: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _PUT_MANY, str(directory)]) for _ in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0, 0]
    assert len(_files(directory)) == 40
