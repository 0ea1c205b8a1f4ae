"""The documents' commands and examples, executed as a reader would, in a copy and against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import uvicorn

from serve_app.commands import demo
from serve_app.commands.local import Local
from serve_app.commands.profile import PROFILES, application_in
from serve_app.commands.reference import EVENTS
from serve_app.commands.run import REJECTED_EXIT
from serve_app.config import AppConfig, plans_of
from serve_app.graph.callers import InProcess
from serve_app.graph.host import Place
from serve_app.graph.record import Resources
from serve_app.http.app import make_api
from serve_app.runs.model import RunState
from serve_app.runs.queue import RUNNER, Queue, QueueSettings
from serve_app.runs.report import Reporter
from serve_app.serving.service import RunService
from serve_app.serving.stores import open_artifacts, open_store
from tests.contracts.documents import PAGES, ROOT, Block, blocks, commands, copy_of_the_house

README, HTTP, STAGE = ROOT / "README.md", ROOT / "docs/http.md", ROOT / "docs/adding-a-stage.md"
HOST = "http://127.0.0.1:8000"
RUN = {
    r"greenlight (check|draw|inspect|judge|schema|reference)( |$)": "in the copy",
    r"greenlight run .*--local": "in the copy",
    r"cp serve_app/": "in the copy",
    r"curl ": "against a server",
}
"""What is executed. The copy is a checkout's; the server is the API with a queue that works in this process."""
NOT_RUN = {
    r"\. \.venv/bin/activate$": "there is nothing to see",
    r"make (demo|serve|test)$": "the target is looked at; tests/serve does what they do",
    r"hf download ": "66 GiB",
    r"serve run mine\.yaml$": "needs a GPU and weights",
    r"greenlight (sweep|compare) ": "tests/test_sweep_command.py does what they do",
    r"greenlight run ltx2-\S+ (?!.*--local)": "needs a GPU and weights",
    r"greenlight gif ": "tests/test_gif_command.py does what it does",
    r"greenlight convert ": "tests/test_convert_command.py does what it does",
    r"greenlight pull ": "tests/hub/test_pull.py does what they do",
    r"docker build ": "needs a docker daemon",
    r"kubectl apply -f \S+$": "needs a cluster",
}
"""What is not, and why."""


def is_run(command: str) -> bool:
    return any(re.match(pattern, command) for pattern in RUN)


@pytest.mark.parametrize("command", sorted({command for page in PAGES for command in commands(page)}))
def test_every_command_is_classified(command: str) -> None:
    assert sum(bool(re.match(pattern, command)) for pattern in (*RUN, *NOT_RUN)) == 1


@pytest.mark.parametrize("command", sorted({c for page in PAGES for c in commands(page) if c.startswith("make ")}))
def test_every_make_target_exists(command: str) -> None:
    done = subprocess.run([*command.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def house(tmp_path: Path) -> Path:
    return copy_of_the_house(tmp_path)


def shell(command: str, house: Path, status: int = 0) -> str:
    """Run a line as a reader does, with this environment's programs and the copy's code; fail unless it ends so."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    words = ["bash", "-c", command]
    done = subprocess.run(words, cwd=house, env=environ, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The demo profile's API on a free port: SQLite, and a queue that calls the stages in this process."""
    config = application_in(PROFILES / "demo.yaml").config.model_copy(update={"directory": tmp_path / "state"})
    store, artifacts, plans = open_store(config), open_artifacts(config), plans_of(config)
    place = Place("cpu", 1, Resources(), artifacts, config.scratch_path, config.limits.picture_px)
    line = Queue(store, plans, InProcess(lambda _: place), Reporter(plans, config.prices), QueueSettings())
    is_over = threading.Event()

    async def work() -> None:
        line.start()
        while not is_over.is_set():
            await asyncio.sleep(0.05)
        await line.stop()

    api = make_api(RunService(store, artifacts, plans, config))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        web = uvicorn.Server(uvicorn.Config(api, log_config=None, lifespan="off", ws="none"))
        threads = [
            threading.Thread(target=web.run, args=([listener],)),
            threading.Thread(target=asyncio.run, args=(work(),)),
        ]
        for thread in threads:
            thread.start()
        while not (web.started and store.alive(RUNNER, 60)):
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        web.should_exit = True
        is_over.set()
        for thread in threads:
            thread.join(20)
    store.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("page", [README, HTTP], ids=lambda page: page.name)
def test_the_commands_of_a_page_work_in_their_order(page: Path, house: Path, server: str) -> None:
    for command in filter(is_run, commands(page)):
        checked = command.replace(HOST, server).replace("curl ", "curl -sS --fail-with-body --max-time 120 ")
        shell(checked, house)
    if page == HTTP:
        assert (house / "head.bin").read_bytes() == (house / "video.mp4").read_bytes()[:100]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """A short run of the demo: its report, and everything that happened."""
    local = Local(AppConfig(pipelines=(demo.PIPELINE,), directory=tmp_path_factory.mktemp("finished")), {})
    run_id = local.submit(demo.PIPELINE, {**demo.INPUTS, "frames": 9}, {})
    happenings = list(local.follow(run_id))
    yield local.report(run_id), happenings
    local.close()


def test_the_report_in_the_readme_is_a_part_of_a_real_one(finished: tuple[dict[str, Any], list[Any]]) -> None:
    def is_part(shown: Any, real: Any) -> bool:
        return not isinstance(shown, dict) or all(key in real and is_part(shown[key], real[key]) for key in shown)

    (block,) = blocks(README, "json")
    assert is_part(json.loads(block.text), finished[0])


def test_every_key_of_a_report_is_explained_and_no_other(finished: tuple[dict[str, Any], list[Any]]) -> None:
    table = HTTP.read_text(encoding="utf-8").partition("| Key | Is |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(key for cell in first_cells for key in re.findall(r"`(\w+)`", cell)) == sorted(finished[0])


def test_every_event_has_the_data_that_the_reference_says(finished: tuple[dict[str, Any], list[Any]]) -> None:
    for happening in finished[1]:
        if happening.kind not in {state.value for state in RunState}:
            assert set(happening.data) == {"attempt", *EVENTS[happening.kind][0].split(", ")}


def local_run(**inputs: Any) -> str:
    """Return the demo as a command without a server."""
    given = {**demo.INPUTS, "image": "@serve_app/profiles/demo.jpg", **inputs}
    return f"greenlight run {demo.PIPELINE} --local " + " ".join(
        f"-i '{name}={value}'" for name, value in given.items()
    )


def test_a_stricter_judge_rejects_every_attempt_as_the_readme_says(house: Path) -> None:
    (stricter,) = re.findall(r"Write `([^`]+)` there", README.read_text(encoding="utf-8"))
    pipeline = house / "serve_app/pipelines/animatic-fidelity.yaml"
    pipeline.write_text(pipeline.read_text().replace("ok_below: 20, warn_below: 30", stricter))
    shell(local_run(), house, status=REJECTED_EXIT)
    (folder,) = (house / "outputs").iterdir()
    report = json.loads((folder / "report.json").read_text())
    assert sorted(file.name for file in folder.iterdir()) == ["report.json", "sheet.png"]
    assert len({attempt["seed"] for attempt in report["attempts"]}) == 3
    assert not [step for attempt in report["attempts"] for step in attempt["steps"] if step["node"] == "upscale"]


def write(house: Path, block: Block) -> str:
    """Put a block where its first line says, check its style, and return that path."""
    assert block.file is not None
    (house / block.file).write_text(block.text)
    shell(f"ruff format --check {block.file} && ruff check {block.file}", house)
    return block.file


def test_the_stage_in_the_readme_is_a_stage_and_loops_the_demo(house: Path) -> None:
    (block,) = blocks(README, "python")
    write(house, block)
    shell("python -m pytest -q -p no:cacheprovider tests/contracts/test_stages.py -k boomerang", house)
    pipeline = house / "serve_app/pipelines/animatic-fidelity.yaml"
    node = "  encode:\n    use: encode.video\n    take: {clip: final_gate}\n"
    assert node in pipeline.read_text()
    pipeline.write_text(pipeline.read_text().replace(node, blocks(README, "yaml")[1].text))
    shell(local_run(frames=9), house)
    (video,) = (house / "outputs").glob("*/video.mp4")
    with av.open(str(video)) as container:
        assert container.streams.video[0].frames == 16


def test_the_worked_example_works(house: Path) -> None:
    stage, test = (write(house, block) for block in blocks(STAGE, "python")[:2])
    for name, block in zip(("sharp.yaml", "profile.yaml"), blocks(STAGE, "yaml")[:2], strict=True):
        (house / name).write_text(block.text)
    assert stage.endswith("sharpness.py")
    shell(f"python -m pytest -q -p no:cacheprovider tests/contracts/test_stages.py {test} -k sharpness", house)
    for command in commands(STAGE):
        shell(command, house)
    assert list((house / "outputs").glob("*/video.mp4"))


def test_the_worked_metric_sits_on_a_panel_with_the_judge(house: Path) -> None:
    stage, test = (write(house, block) for block in blocks(STAGE, "python")[2:])
    assert stage.endswith("liking.py")
    shell(f"python -m pytest -q -p no:cacheprovider tests/contracts/test_stages.py {test} -k liking", house)
    (pipeline,) = blocks(STAGE, "yaml")[2:]
    (house / "liked.yaml").write_text(pipeline.text)
    stages = "{'judge.liking': {'weights': {'model': 'liking.safetensors'}}}"
    config = f"AppConfig(pipelines=['liked.yaml'], stages={stages})"
    shell(f'python -c "from serve_app.config import AppConfig, plans_of; plans_of({config})"', house)
