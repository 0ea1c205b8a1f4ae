"""`greenlight check-endpoints` against a server that really makes, judges and serves what is asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from serve_app.__main__ import main
from serve_app.commands.judging.endpoints import request_for
from serve_app.core.errors import InvalidInput
from serve_app.http.app import make_api
from tests.http.house import WorkingService

PHOTO = Path(__file__).parent / "serve" / "pipelines" / "photo.yaml"


class ReadyService(WorkingService):
    """Says that its runner is there, which it is."""

    async def health(self) -> dict[str, Any]:
        """See `Service.health`."""
        return {"is_ready": True, "runners": 1, "runs": {}, "reasons": []}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root: Path = tmp_path_factory.mktemp("house")
    strict = root / "strict.yaml"
    text = PHOTO.read_text(encoding="utf-8").replace("name: photo", "name: strict", 1)
    for level in ("20}", "30}"):
        text = text.replace(f"{{type: number, default: {level}", "{type: number, default: 0.001}")
    strict.write_text(text, encoding="utf-8")
    service = ReadyService(root, [str(PHOTO), str(strict), "judge-image", "judge-video"])
    config = uvicorn.Config(make_api(service), port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def check(url: str, root: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the report."""
    out = root / "out"
    code = main(["check-endpoints", "--url", url, "--out", str(out), *arguments])
    (folder,) = out.iterdir()
    document: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return code, document


def test_every_pipeline_is_asked_and_what_it_makes_is_judged(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = check(url, tmp_path)
    found = {each["pipeline"]: each for each in document["endpoints"]}
    assert set(found) == {"photo", "strict", "judge-image", "judge-video"}
    assert (found["photo"]["state"], found["strict"]["state"]) == ("succeeded", "rejected")
    assert (found["judge-image"]["state"], found["judge-video"]["state"]) == ("succeeded", "succeeded")
    assert found["strict"]["verdict"] == "reject"
    assert [Path(each["file"]).name for each in document["files"]] == ["video.mp4"]  # and not the contact sheet
    assert found["photo"]["judgements"] == [document["files"][0]["file"]]
    assert found["photo"]["usd"] is not None
    assert code == 3
    (folder,) = (tmp_path / "out").iterdir()
    assert (folder / "photo" / "video.mp4").is_file()
    assert (folder / "index.html").is_file()
    assert "photo" in capsys.readouterr().out


def test_only_some_are_asked_on_request_and_all_well_is_zero_or_three(url: str, tmp_path: Path) -> None:
    code, document = check(url, tmp_path, "--pipelines", "judge-image")
    assert [each["pipeline"] for each in document["endpoints"]] == ["judge-image"]
    assert (code, document["endpoints"][0]["verdict"]) == (0, "pass")


def test_a_pipeline_that_takes_too_long_fails_and_says_so(url: str, tmp_path: Path) -> None:
    code, document = check(url, tmp_path, "--pipelines", "photo", "--budget-s", "0.001")
    assert (code, document["endpoints"][0]["verdict"]) == (1, "error")
    assert "budget_s of 0.001 is spent" in document["endpoints"][0]["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pipelines", "phto"], "did you mean photo"),
        (["--budget-s", "0"], "--budget-s: "),
        (["--url", "http://127.0.0.1:9"], "is not ready"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    url: str, tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-endpoints", "--url", url, "--out", str(tmp_path / "out"), *arguments]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def spec(kind: str, **more: Any) -> dict[str, Any]:
    return {"name": "p", "inputs": {"x": {"type": kind, "required": True, **more}}}


def test_a_request_has_the_defaults_and_what_has_none(tmp_path: Path) -> None:
    assert request_for(spec("integer", minimum=8.0), tmp_path, 1).inputs == {"x": 8}
    assert request_for(spec("seed", required=False), tmp_path, 1).inputs == {"x": 42}
    assert request_for(spec("text", required=False), tmp_path, 1).inputs == {}
    assert request_for(spec("clip"), tmp_path, 1).inputs["x"].read_bytes().startswith(b"RIFF")


@pytest.mark.parametrize("kind", ["boolean", "adapter", "integer"])
def test_what_it_cannot_make_up_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"p\.x: is required"):
        request_for(spec(kind), tmp_path, 1)
