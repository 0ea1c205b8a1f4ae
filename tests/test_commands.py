"""`greenlight check`, `draw` and `schema` as a person calls them."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from serve_app.__main__ import main
from serve_app.graph.spec import read_yaml, shipped
from tests.serving.documents import CLUSTER, CRD, PROFILES, ROOT

PIPELINES = sorted(shipped().values())


def test_everything_that_is_shipped_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    files = [*PIPELINES, *PROFILES, CLUSTER]
    assert main(["check", *map(str, files)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{file}: ok" for file in files]


@pytest.mark.skipif(not CRD.exists(), reason=f"KubeRay's RayService CRD is not at {CRD}")
def test_a_manifest_is_held_against_its_definition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER.read_text().replace("    enableInTreeAutoscaling:", "    enableAutoscaling:"))
    assert main(["check", str(file), "--crd", str(CRD)]) == 1
    assert f"{file}: spec.rayClusterConfig: " in capsys.readouterr().out


def test_a_mistake_is_one_line_with_file_and_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "profile.yaml"
    file.write_text(PROFILES[0].read_text().replace("max_ongoing_requests: 100", "max_ongoing_request: 100"))
    assert main(["check", str(file)]) == 1
    assert capsys.readouterr().out == (
        f"{file}: applications.0.deployments.0.max_ongoing_request: "
        "there is no 'max_ongoing_request'; did you mean max_ongoing_requests, max_queued_requests?\n"
    )


def test_a_pipelines_mistake_is_one_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(PIPELINES[0].read_text().replace("use: upscale.edsr", "use: upscale.esdr"))
    assert main(["check", str(file)]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{file}: pipeline animatic-fidelity nodes.upscale.use: there is no 'upscale.esdr'; did you")
    assert out.count("\n") == 1


def test_bad_files_do_not_hide_one_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("a: [")
    assert main(["check", str(one), str(two)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(one), str(two)]


@pytest.mark.parametrize("text", ["", "3", "- 1", "a: 1", "kind: Pod\napiVersion: v1"])
def test_a_file_of_no_known_kind_is_a_mistake(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "what.yaml"
    file.write_text(text)
    assert main(["check", str(file)]) == 1
    assert capsys.readouterr().out.startswith(f"{file}: is ")


def test_a_manifest_may_stand_beside_the_claims_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(f"apiVersion: v1\nkind: PersistentVolumeClaim\n---\n{CLUSTER.read_text()}")
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_checking_loads_no_torch() -> None:
    code = f"""
import sys
from serve_app.__main__ import main
code = main(["check", *{[str(file) for file in (*PIPELINES, *PROFILES, CLUSTER)]!r}])
print([name for name in ("torch", "diffusers", "transformers", "cv2", "av") if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize("argv", [[], ["check"], ["paint"], ["schema", "stage"], ["draw"]])
def test_wrong_usage_ends_with_two(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: greenlight")


def test_a_pipeline_is_drawn_with_its_gates_as_diamonds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "animatic-fidelity"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("flowchart LR\n")
    assert out.endswith("\n")
    assert 'gate{"gate<br/>gate.verdict"}' in out
    assert 'draft["draft<br/>generate.animatic"]' in out


def test_an_unknown_pipeline_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "animatic-fidelty"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("greenlight: pipeline: there is no 'animatic-fidelty'; did you mean animatic-fidelity")


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_the_schema_of_configurations_takes_the_shipped_ones(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    jsonschema.validate(read_yaml(path)["applications"][0]["args"], json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_the_schema_of_pipelines_takes_the_shipped_ones(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "pipeline"]) == 0
    jsonschema.validate(read_yaml(path), json.loads(capsys.readouterr().out))


def test_a_misspelt_manifest_beside_its_claims_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "all.yaml"
    misspelt = CLUSTER.read_text().replace("kind: RayService", "kind: RayServise")
    file.write_text(f"apiVersion: v1\nkind: PersistentVolumeClaim\n---\n{misspelt}")
    assert main(["check", str(file)]) == 1
    assert capsys.readouterr().out.startswith(f"{file}: holds neither ")
