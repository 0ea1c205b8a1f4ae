"""One file over a real connection that breaks, lies and is slow."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from serve_app.core.errors import Cancelled, NotFetched
from serve_app.core.fetch import Fetched, Remote, fetch
from serve_app.core.web import Bounds, shown
from tests.hub.server import Fault, Hub, serving

DATA = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
QUICK = Bounds(attempts=3, first_pause_s=0.01, longest_pause_s=0.05, connect_s=2, read_s=2)


@pytest.fixture
def remote(hub: Hub) -> Remote:
    hub.plain["/a.bin"] = DATA
    return Remote(f"{hub.url}/a.bin", SHA256)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "here" / "a.bin"


def had(remote: Remote, target: Path, bounds: Bounds = QUICK) -> Fetched:
    return fetch(remote, target, bounds=bounds)


def test_a_file_comes_whole_and_nothing_is_left_beside_it(remote: Remote, target: Path) -> None:
    found = had(remote, target)
    assert (target.read_bytes(), found.sha256, found.size_bytes, found.was_here) == (DATA, SHA256, len(DATA), False)
    assert {path.name for path in target.parent.iterdir()} == {"a.bin", "a.bin.lock"}


def test_what_is_here_is_not_asked_for_again(hub: Hub, remote: Remote, target: Path) -> None:
    had(remote, target)
    assert had(remote, target).was_here
    assert len(hub.asked) == 1


def test_progress_ends_with_the_whole(remote: Remote, target: Path) -> None:
    told: list[tuple[int, int | None]] = []
    fetch(remote, target, lambda done, of: told.append((done, of)), QUICK)
    assert told[0] == (0, len(DATA))
    assert told[-1] == (len(DATA), len(DATA))


def test_a_connection_that_breaks_is_resumed_where_it_broke(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(cut_at=100_000)
    had(remote, target)
    assert target.read_bytes() == DATA
    assert [each.range for each in hub.gets("a.bin")] == [None, "bytes=100000-"]


def test_another_call_resumes_what_the_last_one_left(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(times=3, cut_at=0)
    with pytest.raises(NotFetched):
        had(replace(remote, sha256=None), target)
    hub.faults["a.bin"] = Fault(cut_at=50_000)
    with pytest.raises(NotFetched):
        had(replace(remote, sha256=None), target, replace(QUICK, attempts=1))
    hub.asked.clear()
    assert had(replace(remote, sha256=None), target).sha256 == SHA256
    assert [each.range for each in hub.gets("a.bin")] == ["bytes=50000-"]


def test_a_file_that_changed_meanwhile_is_fetched_anew(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(cut_at=50_000)
    with pytest.raises(NotFetched):
        had(replace(remote, sha256=None), target, replace(QUICK, attempts=1))
    hub.plain["/a.bin"] = DATA[::-1]
    had(replace(remote, sha256=None), target)
    assert target.read_bytes() == DATA[::-1]


def test_without_a_tag_and_a_digest_nothing_is_resumed(hub: Hub, remote: Remote, target: Path) -> None:
    hub.has_tags = False
    hub.faults["a.bin"] = Fault(cut_at=50_000)
    had(replace(remote, sha256=None), target)
    assert [each.range for each in hub.gets("a.bin")] == [None, None]
    assert target.read_bytes() == DATA


def test_a_server_that_ignores_ranges_still_gives_the_right_file(hub: Hub, remote: Remote, target: Path) -> None:
    hub.ignores_ranges = True
    hub.faults["a.bin"] = Fault(cut_at=50_000)
    had(remote, target)
    assert target.read_bytes() == DATA


def test_a_spoiled_byte_is_fetched_once_more(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(spoils=True)
    had(remote, target)
    assert target.read_bytes() == DATA


def test_what_stays_spoiled_is_refused_and_not_kept(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(times=9, spoils=True)
    with pytest.raises(NotFetched, match=f"its sha256 is .*, and {SHA256} was expected, 2 times"):
        had(remote, target)
    assert {path.name for path in target.parent.iterdir()} == {"a.bin.lock"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(hub: Hub, remote: Remote, target: Path, status: int) -> None:
    hub.faults["a.bin"] = Fault(times=2, status=status, retry_after="3600")
    had(remote, target)
    assert target.read_bytes() == DATA


def test_a_server_that_stays_busy_is_given_up(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(times=9, status=503)
    with pytest.raises(NotFetched, match=r"a\.bin: HTTP 503, 3 times in a row"):
        had(remote, target)


def test_failures_with_bytes_between_them_do_not_add_up(hub: Hub, remote: Remote, target: Path) -> None:
    hub.faults["a.bin"] = Fault(times=5, cut_at=50_000)
    had(remote, target)
    assert len(hub.gets("a.bin")) == 6


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "it is not there"), (403, "accept it on the"), (401, "HF_TOKEN"), (418, "HTTP 418")]
)
def test_a_refusal_is_not_repeated(hub: Hub, remote: Remote, target: Path, status: int, reason: str) -> None:
    hub.faults["a.bin"] = Fault(times=9, status=status)
    with pytest.raises(NotFetched, match=reason):
        had(remote, target)
    assert len(hub.asked) == 1


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="ConnectError"):
        had(Remote("http://127.0.0.1:9/a.bin"), tmp_path / "a.bin")


@pytest.mark.parametrize("size_bytes", [None, len(DATA)])
def test_a_file_beyond_the_limit_is_refused(remote: Remote, target: Path, size_bytes: int | None) -> None:
    with pytest.raises(NotFetched, match="larger than 1000 bytes"):
        had(replace(remote, size_bytes=size_bytes), target, replace(QUICK, most_bytes=1000))


def test_another_size_than_announced_is_refused(remote: Remote, target: Path) -> None:
    with pytest.raises(NotFetched, match="300000 bytes, and 5 were announced"):
        had(replace(remote, size_bytes=5), target)


def test_gits_digest_is_compared_too(remote: Remote, target: Path) -> None:
    with pytest.raises(NotFetched, match="git digest"):
        had(replace(remote, sha256=None, git_sha1="0" * 40, size_bytes=len(DATA)), target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/a", "no address"])
def test_only_http_is_spoken(url: str, tmp_path: Path) -> None:
    with pytest.raises(NotFetched, match="no http or https address"):
        had(Remote(url), tmp_path / "a.bin")


def test_an_error_shows_no_password_and_no_query(hub: Hub, target: Path) -> None:
    url = hub.url.replace("http://", "http://me:secret@") + "/gone.bin?signature=secret"
    with pytest.raises(NotFetched) as caught:
        had(Remote(url), target)
    assert "secret" not in str(caught.value)
    assert "/gone.bin: HTTP 404" in str(caught.value)


def test_an_address_of_ipv6_keeps_its_brackets() -> None:
    assert shown("https://me:pw@[::1]:8443/a?b#c") == "https://[::1]:8443/a"


def test_whoever_listens_may_stop_it_and_what_came_stays(hub: Hub, remote: Remote, target: Path) -> None:
    def stop(done: int, of: int | None) -> None:
        if done == len(DATA):
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(remote, target, stop, QUICK)
    assert not target.exists()
    assert target.with_name("a.bin.greenlight.part").stat().st_size == len(DATA)


def test_two_threads_fetch_a_file_once(hub: Hub, remote: Remote, target: Path) -> None:
    hub.gate = threading.Event()
    found: list[Fetched] = []
    threads = [threading.Thread(target=lambda: found.append(had(remote, target))) for _ in range(2)]
    for thread in threads:
        thread.start()
    threading.Timer(0.3, hub.gate.set).start()
    for thread in threads:
        thread.join(10)
    assert sorted(each.was_here for each in found) == [False, True]
    assert len(hub.gets("a.bin")) == 1


def test_two_processes_fetch_a_file_once(hub: Hub, remote: Remote, target: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from serve_app.core.fetch import Remote, fetch;"
        "print(fetch(Remote(sys.argv[1], sys.argv[2]), Path(sys.argv[3])).was_here)"
    )
    hub.gate = threading.Event()
    command = [sys.executable, "-c", code, remote.url, SHA256, str(target)]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    threading.Timer(1.5, hub.gate.set).start()
    said = sorted(other.communicate(timeout=30)[0].strip() for other in others)
    assert said == ["False", "True"]
    assert len(hub.gets("a.bin")) == 1


def test_a_token_goes_with_the_request(hub: Hub, remote: Remote, target: Path) -> None:
    had(replace(remote, token="hf_x"), target)
    assert hub.asked[0].authorization == "Bearer hf_x"
    assert "hf_x" not in repr(replace(remote, token="hf_x"))


def test_a_token_stays_with_the_first_server(hub: Hub, remote: Remote, target: Path) -> None:
    with serving() as elsewhere:
        elsewhere.plain["/cdn"] = DATA
        hub.moved["/a.bin"] = f"{elsewhere.url}/cdn"
        had(replace(remote, token="hf_x"), target)
        assert [each.authorization for each in (*hub.asked, *elsewhere.asked)] == ["Bearer hf_x", None]
    assert target.read_bytes() == DATA


def test_a_circle_of_redirects_is_given_up(hub: Hub, remote: Remote, target: Path) -> None:
    hub.moved["/a.bin"] = f"{hub.url}/a.bin"
    with pytest.raises(NotFetched, match="TooManyRedirects"):
        had(remote, target)


def test_a_place_that_cannot_be_written_is_told(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotFetched, match="it cannot be written"):
        had(remote, tmp_path / "file" / "a.bin")


@pytest.mark.parametrize("size_bytes", [0, None])
def test_a_file_of_no_bytes_is_a_file(hub: Hub, target: Path, size_bytes: int | None) -> None:
    hub.plain["/none.bin"] = b""
    found = had(Remote(f"{hub.url}/none.bin", hashlib.sha256(b"").hexdigest(), size_bytes=size_bytes), target)
    assert (target.read_bytes(), found.size_bytes) == (b"", 0)
