"""`greenlight judge` as a person calls it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve_app.__main__ import main
from serve_app.core.media import Pixels
from tests.deployments.test_judge_image import PAIRS, of_sharpness
from tests.judging.films import animation, film, pan, still
from tests.metrics.clips import clip
from tests.metrics.pictures import subject

QUICK = ("--null-clips", "0")


class Court:
    """Calls the command in a directory of its own."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self._capsys = root, capsys

    def file(self, name: str, data: bytes) -> Path:
        path = self.root / name
        path.write_bytes(data)
        return path

    def judge(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        """Return the exit code and the report."""
        out = self.root / "out"
        before = set(out.glob("*"))
        code = main(["judge", *map(str, arguments), "--out", str(out), *QUICK])
        (folder,) = set(out.glob("*")) - before
        assert {path.name for path in folder.iterdir()} == {"report.json", "index.html"}
        assert re.fullmatch(r"\d{8}_\d{6}(_\d+)?", folder.name)
        document: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return code, document

    def one(self, name: str, data: bytes, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Judge one file; return the exit code and what is said of it."""
        code, document = self.judge(self.file(name, data), *arguments)
        (said,) = document["files"]
        return code, said

    def said(self) -> Any:
        return self._capsys.readouterr()


@pytest.fixture
def court(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Court]:
    monkeypatch.chdir(tmp_path)
    yield Court(tmp_path, capsys)
    assert "Traceback" not in "".join(capsys.readouterr())


def finding(said: dict[str, Any], detector: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in said["score"]["findings"] if each["detector"] == detector)
    return found


PORTRAIT = subject("astronaut").pixels


def test_a_clip_with_another_person_in_it_fails_with_its_frame(court: Court) -> None:
    made = clip("test", "astronaut", "swap")
    reference = court.file("photo.png", still(PORTRAIT))
    box = ",".join(map(str, made.subject.face or ()))
    code, said = court.one(
        "swap.mkv", film(made.frames, "matroska", "ffv1", "bgr0"), "--reference", str(reference), "--face-box", box
    )
    assert (code, said["verdict"], said["kind"]) == (3, "fail", "Matroska or WebM")
    found = finding(said, "identity")
    assert found["verdict"] == "fail"
    assert made.shows is not None
    assert abs(found["frame"] - made.shows[0]) <= 1
    assert {"cut", "torn", "luma_min"} <= {series["measure"] for series in said["series"]}
    assert said["score"]["checkpoints"]
    assert len(said["checklist"]) == 18


def test_a_folder_is_judged_and_the_worst_decides_the_exit(court: Court) -> None:
    folder = court.root / "clips"
    folder.mkdir()
    (folder / "good.png").write_bytes(still(PORTRAIT))
    (folder / "still.mkv").write_bytes(film(np.repeat(pan(1), 8, axis=0), "matroska", "ffv1", "bgr0"))
    (folder / "notes.txt").write_text("words")
    code, document = court.judge(folder)
    verdicts = {Path(each["file"]).name: each["verdict"] for each in document["files"]}
    assert verdicts["still.mkv"] == "reject"
    assert code == 3
    assert [Path(name).name for name in document["passed_over"]] == ["notes.txt"]
    assert "1 other file was no picture and no video" in court.said().out


def test_what_cannot_be_judged_is_named_and_the_rest_is_judged(court: Court) -> None:
    good, bad = court.file("good.png", of_png(366.0)), court.file("bad.mp4", b"")
    code, document = court.judge(good, bad)
    assert code == 1
    assert [each["verdict"] for each in document["files"]] == ["pass", "error"]
    assert document["counts"] == {"pass": 1, "error": 1}


@cache
def of_png(sharpness: float) -> bytes:
    return still(of_sharpness(sharpness))


@pytest.mark.parametrize(("sharpness", "points"), PAIRS)
def test_the_published_pairs_come_out_of_files(court: Court, sharpness: float, points: float) -> None:
    code, said = court.one("picture.png", of_png(sharpness))
    assert code == 0
    assert said["score"]["measures"]["sharpness"] == pytest.approx(sharpness, abs=2)
    assert (said["score"]["points"], said["score"]["measures"]["seed_score"]) == (points, points)


def test_the_report_is_printed_as_json_on_request(court: Court) -> None:
    code, document = court.judge(court.file("a.png", of_png(221.0)), "--json")
    said = court.said()
    assert json.loads(said.out) == document
    assert "index.html" in said.err
    assert code == 0


def test_the_same_file_has_the_same_score_whatever_it_is_called(court: Court) -> None:
    data = film(pan())
    first, second = court.one("a.mp4", data)[1], court.one("b", data)[1]
    assert first["score"] == second["score"]


def test_a_still_says_that_the_reference_has_no_effect_on_it(court: Court) -> None:
    photo = court.file("photo.png", still(pan(1)[0]))
    _, said = court.one("a.png", still(pan(1)[0]), "--reference", str(photo))
    assert "reference" in said["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere.mp4"], "there is no file or folder nowhere.mp4"),
        (["--face-box", "0.9,0,0.5,1", "a.png"], "inputs.face_box: "),
        (["--face-box", "here", "a.png"], "inputs.face_box: "),
        (["--null-clips", "65", "a.png"], "inputs.null_clips: "),
        (["--memory-gib", "0", "a.png"], "--memory-gib: "),
        (["--reference", "nowhere.png", "a.png"], "--reference: nowhere.png cannot be read"),
        (["--reference", "words.png", "a.png"], "--reference: "),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_no_folder(court: Court, arguments: list[str], words: str) -> None:
    court.file("a.png", still(pan(1)[0]))
    court.file("words.png", b"words")
    assert main(["judge", "--out", "out", *arguments]) == 1
    assert words in court.said().err.splitlines()[0]
    assert not (court.root / "out").exists()


# ---- what files are like out there: a verdict or a clear error, and never a pass by accident


def tiff(values: np.ndarray[Any, Any]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(values).save(data, "TIFF")
    return data.getvalue()


def floats(value: float) -> bytes:
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    values[3, 3] = value
    return tiff(values)


UNREADABLE = {
    "empty.png": b"",
    "empty.mp4": b"",
    "words.txt": b"hello",
    "words.mp4": b"hello",
    "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
    "half.mp4": film(pan(40))[:3000],
    "half.png": still(pan(1)[0])[:900],
    "half.webp": animation(pan(), "WebP")[:-700],
    "nan.tif": floats(np.nan),
    "inf.tif": floats(np.inf),
    "floats.tif": floats(0.5),
    "integers.tif": tiff(np.full((64, 64), 1 << 20, np.int32)),
    "sizes.mp4": b"\0\0\0\x18ftypisom" + bytes(8) + b"\0\0\0\x04moov",
}


def test_what_cannot_be_read_is_an_error_in_words(court: Court) -> None:
    code, document = court.judge(*(court.file(name, data) for name, data in UNREADABLE.items()))
    assert code == 1
    assert len(document["files"]) == len(UNREADABLE)
    for said in document["files"]:
        assert (said["verdict"], said["score"]) == ("error", None), said["file"]
        assert re.fullmatch(r"invalid_(input|picture|clip)", said["error"]["code"]), said["file"]
        assert len(said["error"]["detail"]) > 10


def sixteen_bit_grey() -> bytes:
    levels = np.asarray(Image.fromarray(PORTRAIT).convert("L")).astype(np.uint16) * 257
    data = io.BytesIO()
    Image.fromarray(levels).save(data, "PNG")
    return data.getvalue()


def with_alpha() -> bytes:
    alpha = np.linspace(0, 255, PORTRAIT.shape[1]).astype(np.uint8)
    planes = np.dstack([PORTRAIT, np.broadcast_to(alpha, PORTRAIT.shape[:2])])
    return still(planes)


STRANGE = {
    "one.png": (still(pan(1)[0][:1, :1]), "reject"),
    "one.mkv": (film(pan(4)[:, :1, :1], "matroska", "ffv1", "bgr0"), "reject"),
    "single_frame.mp4": (film(pan(1)), "reject"),
    "odd.png": (still(PORTRAIT[:331, :513]), None),
    "odd.mkv": (film(pan(8)[:, :89, :157], "matroska", "ffv1", "bgr0"), None),
    "ten_bits.mov": (film(pan(8), "mov", "libx264", "yuv420p10le"), None),
    "grey.png": (still(np.asarray(Image.fromarray(PORTRAIT).convert("L"))), None),
    "grey16.png": (sixteen_bit_grey(), None),
    "grey.mkv": (film(pan(8), "matroska", "ffv1", "gray"), None),
    "alpha.png": (with_alpha(), None),
    "alpha.mkv": (film(pan(8), "matroska", "ffv1", "bgra"), None),
    "still.gif": (still(PORTRAIT, "GIF"), None),
    "still.bmp": (still(PORTRAIT, "BMP"), None),
    "still.tif": (still(PORTRAIT, "TIFF"), None),
    "moving.gif": (animation(pan(8), "GIF"), None),
    "moving.png": (animation(pan(8), "PNG"), None),
}


def test_what_is_strange_and_whole_gets_a_verdict(court: Court) -> None:
    code, document = court.judge(*(court.file(name, data) for name, (data, _) in STRANGE.items()))
    assert code == 3
    for said, (name, (_, expected)) in zip(document["files"], STRANGE.items(), strict=True):
        assert said["error"] is None, name
        assert said["verdict"] == expected or expected is None, name
        assert np.isfinite(list(said["score"]["measures"].values())).all(), name


@pytest.mark.parametrize(
    ("name", "data", "kind"), [("really.mp4", of_png(366.0), "PNG"), ("really.png", film(pan(12)), "MP4 or MOV")]
)
def test_a_file_under_a_wrong_name_is_judged_by_its_bytes_and_never_passes(
    court: Court, name: str, data: bytes, kind: str
) -> None:
    _, said = court.one(name, data)
    assert said["kind"] == kind
    assert finding(said, "container")["verdict"] == "warn"
    assert said["verdict"] != "pass"
    assert said["score"]["points"] <= 74


def flat(levels: Any) -> Pixels:
    return np.full((256, 256, 3), levels, np.uint8)


NOTHING = {
    "black": flat(0),
    "white": flat(255),
    "one colour": flat((180, 120, 60)),
    "noise": np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.uint8),
    "checkerboard": np.repeat((np.indices((256, 256)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8)[..., None], 3, 2),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("is_clip", [False, True], ids=["picture", "clip"])
def test_nothing_to_see_earns_less_than_50(court: Court, name: str, is_clip: bool) -> None:
    pixels = NOTHING[name]
    moving = np.stack([np.roll(pixels, step, axis=1) for step in range(8)])
    data = film(moving, "matroska", "ffv1", "bgr0") if is_clip else still(pixels)
    code, said = court.one("a.mkv" if is_clip else "a.png", data)
    assert said["score"]["points"] < 50
    assert code == 3


def test_blur_and_noise_never_beat_the_clean_original(court: Court) -> None:
    import cv2

    rng = np.random.default_rng(1)
    soft = cv2.GaussianBlur(PORTRAIT, (0, 0), 2.0)
    spoilt = np.clip(soft + rng.normal(0, 8, soft.shape), 0, 255).astype(np.uint8)
    _, document = court.judge(court.file("clean.png", still(PORTRAIT)), court.file("spoilt.png", still(spoilt)))
    clean, worse = (each["score"]["points"] for each in document["files"])
    assert worse <= clean
