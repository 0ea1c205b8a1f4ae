"""`greenlight gif` as a person calls it: every frame and duration is read back by Pillow and by FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from deployments.nets.gif import ticks_of
from serve_app.__main__ import main
from serve_app.core.errors import InvalidInput
from serve_app.core.media import Pixels
from tests.judging.films import animation, film, pan, still


def convert(folder: Path, data: bytes, name: str = "in.webp") -> Path:
    source, target = folder / name, folder / "out.gif"
    source.write_bytes(data)
    assert main(["gif", str(source), str(target)]) == 0
    return target


def durations(path: Path) -> list[float]:
    with Image.open(path) as picture:
        found = []
        for place in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(place)
            found.append(picture.info["duration"])
        return found


def shown(path: Path) -> Pixels:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_every_frame_keeps_its_own_duration_and_it_loops_for_ever(tmp_path: Path) -> None:
    times = [40, 500, 30, 120, 70, 1000]
    target = convert(tmp_path, animation(pan(6), "WEBP", times))
    assert durations(target) == times
    with Image.open(target) as picture:
        assert picture.info["loop"] == 0, "1 would play it twice"
    assert b"NETSCAPE2.0\x03\x01\0\0" in target.read_bytes()


def test_the_pictures_are_those_of_the_original(tmp_path: Path) -> None:
    frames = pan(6)
    seen = shown(convert(tmp_path, animation(frames, "WEBP", 40))).astype(int)
    assert seen.shape == frames.shape
    assert np.abs(seen - frames).mean() < 9
    assert np.abs(seen.mean(axis=(1, 2, 3)) - frames.mean(axis=(1, 2, 3))).max() < 2


def test_two_equal_frames_stay_two(tmp_path: Path) -> None:
    """Pillow's own writer makes one of them. A still between two others is a PNG here: WebP's writer merges, too."""
    frames = np.concatenate([pan(1), pan(1), 255 - pan(1)])
    source = tmp_path / "in.gif"
    with source.open("wb") as file:
        from deployments.nets.gif import Palette, write_gif

        write_gif(file, map(Image.fromarray, frames), [5, 7, 9], Palette.of(list(frames)))
    assert durations(source) == [50, 70, 90]
    target = tmp_path / "out.gif"
    assert main(["gif", str(source), str(target)]) == 0
    assert durations(target) == [50, 70, 90]
    first, second, third = shown(target)
    assert np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_durations_that_gif_cannot_say_are_rounded_and_their_sum_is_true(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = convert(tmp_path, animation(pan(12), "WEBP", 33))
    found = durations(target)
    assert set(found) == {30, 40}
    assert abs(sum(found) - 12 * 33) <= 5
    assert "12 of 12 durations are no whole 1/100 s and were rounded" in capsys.readouterr().err


def test_exact_durations_are_not_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(tmp_path, animation(pan(3), "WEBP", 40))
    said = capsys.readouterr()
    assert (said.err, "3 frames, 0.12 s" in said.out) == ("", True)


def test_frames_that_players_slow_down_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(tmp_path, animation(pan(3), "WEBP", 10))
    assert "players show frames of 0.01 s or less for 0.1 s" in capsys.readouterr().err


def test_what_is_clear_stays_clear_and_is_not_painted_over(tmp_path: Path) -> None:
    pictures = []
    disc = np.hypot(*(np.indices((16, 16)) - 7.5)) < 7.5
    for place in (0, 16):
        pixels = np.zeros((32, 32, 4), np.uint8)
        pixels[:16, place : place + 16][disc] = (200, 40, 40, 255)
        pictures.append(Image.fromarray(pixels))
    source, target = tmp_path / "in.webp", tmp_path / "out.gif"
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=[40, 60], loop=0, lossless=True)
    assert main(["gif", str(source), str(target)]) == 0
    with Image.open(target) as picture:
        picture.seek(1)
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert np.array_equal(alpha[:16, 16:] == 255, disc)
    assert (alpha[:16, :16] == 0).all(), "the first frame is gone when the second is shown"
    assert durations(target) == [40, 60]


def test_an_animated_png_is_taken_too(tmp_path: Path) -> None:
    assert durations(convert(tmp_path, animation(pan(4), "PNG", [40, 50, 60, 70]), "in.png")) == [40, 50, 60, 70]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (film(pan(4)), "MP4 or MOV; a WebP, PNG or GIF animation is needed"),
        (b"hello", "is nothing that we know"),
        (still(pan(1)[0], "JPEG"), "is JPEG"),
        (animation(pan(6), "WEBP")[:-900], "truncated or damaged"),
    ],
)
def test_what_is_no_whole_animation_is_refused_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, complaint: str
) -> None:
    (tmp_path / "in.webp").write_bytes(data)
    assert main(["gif", str(tmp_path / "in.webp"), str(tmp_path / "out.gif")]) == 1
    assert complaint in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.webp"]


@pytest.mark.parametrize(("out", "complaint"), [("out.mp4", "does not end in .gif"), ("no/out.gif", "no directory")])
def test_out_is_checked_first(tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str, complaint: str) -> None:
    assert main(["gif", str(tmp_path / "nowhere.webp"), str(tmp_path / out)]) == 1
    assert complaint in capsys.readouterr().err


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.gif").write_text("mine")
    (tmp_path / "in.webp").write_bytes(animation(pan(2), "WEBP"))
    assert main(["gif", str(tmp_path / "in.webp"), str(tmp_path / "out.gif")]) == 1
    assert (tmp_path / "out.gif").read_text() == "mine"


def test_a_frame_that_is_shown_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"655\.35"):
        ticks_of([Fraction(656)])


def test_anothers_unfinished_file_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    part = tmp_path / ".out.gif.part"
    part.write_bytes(b"another's")
    (tmp_path / "in.webp").write_bytes(animation(pan(2), "WEBP", 40))
    assert main(["gif", str(tmp_path / "in.webp"), str(tmp_path / "out.gif")]) == 1
    assert "OUT: " in (said := capsys.readouterr().err)
    assert f"{part} exists" in said
    assert part.read_bytes() == b"another's"
