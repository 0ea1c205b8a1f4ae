"""`greenlight inspect` as a person calls it: what files are, what made them, and what is wrong with them."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from deployments.encode.image import ImageEncoder
from serve_app.__main__ import main
from serve_app.core.media import Image
from tests.deployments.desk import DeskContext
from tests.judging.films import animation, film, pan, still

ORIGIN = {"stage": "generate.flux", "model": "tiny", "seed": 7, "prompt": "café", "params": {"steps": 4}}
A1111 = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 64x64"


def look(capsys: pytest.CaptureFixture[str], *paths: Path, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(["inspect", "--json", *map(str, paths)]) == code
    found = json.loads(capsys.readouterr().out)
    return found[0] if len(paths) == 1 else found


def written(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_what_encode_image_wrote_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    desk, stage = DeskContext(tmp_path), ImageEncoder()
    stage.load(ImageEncoder.Weights(), desk)
    artifact = stage.run(ImageEncoder.Params.model_validate({"format": kind}), image=Image(pan(1)[0], "tiny", ORIGIN))
    found = look(capsys, desk.artifacts.path_of(artifact.digest))
    assert found["origin"] == ORIGIN
    assert found["sha256"] == artifact.digest
    assert (found["facts"]["width"], found["facts"]["height"], found["facts"]["frames"]) == (160, 90, 1)
    assert found["facts"]["bit_depth"] == 8


def test_a_films_streams_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = look(capsys, written(tmp_path, "a.mp4", film(pan(7))))
    facts = found["facts"]
    assert (found["kind"], found["media_type"], found["error"]) == ("MP4 or MOV", "video/mp4", None)
    assert (facts["width"], facts["height"], facts["frames"], facts["fps"]) == (160, 90, 7, "24")
    assert facts["duration_s"] == pytest.approx(7 / 24, abs=1e-3)
    assert (facts["codec"], facts["pixel_format"], facts["bit_depth"]) == ("h264", "yuv420p", 8)
    assert facts["colours"]["matrix"] == "untagged"
    assert facts["audio"] is None


def test_a_rate_is_exact_and_tags_and_sound_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as file:
        picture: Any = file.add_stream("libx264", rate=Fraction(30000, 1001))
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p10le"
        codec = picture.codec_context
        codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range = 9, 16, 9, 1
        sound: Any = file.add_stream("aac", rate=44100, layout="stereo")
        for _ in range(6):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        heard = av.AudioFrame.from_ndarray(np.zeros((2, 8820), np.float32), format="fltp", layout="stereo")
        heard.sample_rate = 44100
        file.mux([*picture.encode(None), *sound.encode(heard), *sound.encode(None)])
    facts = look(capsys, path)["facts"]
    assert (facts["fps"], facts["bit_depth"], facts["codec_tag"]) == ("30000/1001", 10, "avc1")
    wanted = {"primaries": "BT2020", "transfer": "SMPTE2084", "matrix": "BT2020", "range": "limited"}
    assert facts["colours"] == wanted
    assert {name: facts["audio"][name] for name in ("codec", "rate_hz", "channels")} == {
        "codec": "aac",
        "rate_hz": 44100,
        "channels": 2,
    }
    assert facts["audio"]["duration_s"] == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_every_duration_of_an_animation_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    facts = look(capsys, written(tmp_path, f"a.{kind.lower()}", animation(pan(3), kind, [40, 60, 100])))["facts"]
    assert (facts["frames"], facts["durations_ms"], facts["loop"]) == (3, [40, 60, 100], 0)
    assert (facts["fps"], facts["duration_s"]) == ("15", 0.2)


def test_the_text_of_other_programs_is_shown_as_it_stands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", A1111)
    data = io.BytesIO()
    PillowImage.fromarray(pan(1)[0]).save(data, "PNG", pnginfo=chunks)
    path = written(tmp_path, "a.png", data.getvalue())
    found = look(capsys, path)
    assert (found["origin"], found["texts"]) == (None, {"parameters": A1111})
    main(["inspect", str(path)])
    assert "    Steps: 20, Sampler: Euler a" in capsys.readouterr().out


def test_the_text_in_a_jpegs_user_comment_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exif = PillowImage.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "ein Käfer".encode("utf-16-be")
    data = io.BytesIO()
    PillowImage.fromarray(pan(1)[0]).save(data, "JPEG", exif=exif)
    found = look(capsys, written(tmp_path, "a.jpg", data.getvalue()))
    assert found["texts"] == {"UserComment": "ein Käfer"}
    assert found["facts"]["subsampling"] == "4:2:0"


def test_a_text_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chunks = PngInfo()
    chunks.add_text("parameters", "red \x1b[31m\x07 alert")
    data = io.BytesIO()
    PillowImage.fromarray(pan(1)[0]).save(data, "PNG", pnginfo=chunks)
    main(["inspect", str(written(tmp_path, "a.png", data.getvalue()))])
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "alert" in said


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (film(pan(7))[:-400], "truncated or damaged"),
        (film(pan(7), "matroska")[:-400], "truncated or damaged"),
        (still(pan(1)[0])[:-400], "truncated or damaged"),
        (still(pan(1)[0], "JPEG")[:-400], "truncated or damaged"),
        (animation(pan(4), "WEBP")[:-400], "truncated or damaged"),
        (animation(pan(4), "GIF")[:-400], "truncated or damaged"),
        (b"", "it is empty"),
        (b"hello", "no picture and no video that we know"),
    ],
)
def test_what_is_damaged_is_said_and_the_rest_is_inspected_nevertheless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, complaint: str
) -> None:
    bad, good = written(tmp_path, "bad", data), written(tmp_path, "good.png", still(pan(1)[0]))
    first, second = look(capsys, bad, good, code=1)
    assert complaint in first["error"]["message"]
    assert second["error"] is None


def test_damage_within_is_found_when_every_frame_is_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(film(pan(24), "mpegts", "mpeg2video"))
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path = written(tmp_path, "a.ts", bytes(data))
    assert main(["inspect", "--decode", str(path)]) == 1
    assert "error" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = look(capsys, tmp_path / "nowhere.png", code=1)
    assert found["error"]["code"] == "unreadable"


def test_a_wrong_name_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = look(capsys, written(tmp_path, "a.png", still(pan(1)[0], "JPEG")))
    assert found["kind"] == "JPEG"
    assert "its name ends in .png" in found["warnings"][0]


def test_people_read_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(written(tmp_path, "a.webp", animation(pan(3), "WEBP", 40)))]) == 0
    said = capsys.readouterr().out
    assert "  kind           WebP, " in said
    assert "  durations_ms   40 each" in said
