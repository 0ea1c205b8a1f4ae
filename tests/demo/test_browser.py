"""The clip plays in a real browser: Debian's Chromium, without a screen and without a network."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.demo.conftest import Demo

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
PAGE = """<!doctype html><title>clip</title><style>body {{ margin: 0 }} video {{ display: block }}</style>
<video muted playsinline preload="auto" src="{}"></video>"""
FPS, FRAMES = 24, 49
LOADED = """video => new Promise((done, fail) => {
    const told = () => done({width: video.videoWidth, height: video.videoHeight, duration: video.duration});
    video.onerror = () => fail(new Error(video.error.message));
    video.readyState >= 2 ? told() : video.onloadeddata = told;
})"""
PLAYED = """video => new Promise((done, fail) => {
    const times = [];
    const shown = (now, frame) => { times.push(frame.mediaTime); video.requestVideoFrameCallback(shown); };
    video.requestVideoFrameCallback(shown);
    video.onerror = () => fail(new Error(video.error.message));
    video.onended = () => done({times, end: video.currentTime});
    video.play().catch(fail);
})"""
SOUGHT = """(video, time) => new Promise((done, fail) => {
    video.onerror = () => fail(new Error(video.error.message));
    video.requestVideoFrameCallback((now, frame) => done(frame.mediaTime));
    video.currentTime = time;
})"""


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """Return an empty page of the size of the clip."""
    if CHROMIUM is None:
        where = "chromium is not installed; on Debian: apt-get install chromium"
        pytest.fail(where) if os.environ.get("CI") else pytest.skip(where)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser.new_page(viewport={"width": 960, "height": 540})
        browser.close()


@pytest.fixture
def clip(demo: Demo, page: Page, tmp_path: Path) -> Any:
    """Return the handle of a video element that has loaded the demo's clip."""
    file = tmp_path / "page.html"
    file.write_text(PAGE.format((demo.folder / "video.mp4").as_uri()), encoding="utf-8")
    page.goto(file.as_uri())
    video = page.query_selector("video")
    assert video is not None
    return video


def decoded(path: Path, index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return one frame as RGB, by its own colour tags."""
    with av.open(str(path)) as container:
        frame = list(container.decode(video=0))[index]
        return np.asarray(frame.to_ndarray(format="rgb24", src_colorspace="ITU709"), np.uint8)


def test_it_loads_with_its_size_and_length(clip: Any) -> None:
    facts = clip.evaluate(LOADED)
    assert (facts["width"], facts["height"]) == (960, 540)
    assert facts["duration"] == pytest.approx(FRAMES / FPS, abs=0.5 / FPS)


def test_it_plays_to_its_end(clip: Any) -> None:
    clip.evaluate(LOADED)
    played = clip.evaluate(PLAYED)
    assert played["end"] == pytest.approx(FRAMES / FPS, abs=0.5 / FPS)
    assert played["times"] == sorted(set(played["times"]))
    assert len(played["times"]) >= 3


@pytest.mark.parametrize("index", [1, 12, 36, 48])
def test_seeking_shows_the_frame_of_that_time(clip: Any, index: int) -> None:
    clip.evaluate(LOADED)
    assert clip.evaluate(SOUGHT, (index + 0.5) / FPS) == pytest.approx(index / FPS, abs=1e-3)


def test_it_shows_the_frame_in_its_true_colours(clip: Any, page: Page, demo: Demo) -> None:
    clip.evaluate(LOADED)
    clip.evaluate(SOUGHT, 36.5 / FPS)
    with Image.open(io.BytesIO(page.screenshot())) as screenshot:
        shown = np.asarray(screenshot.convert("RGB"), np.int16)
    wanted = decoded(demo.folder / "video.mp4", 36)
    assert shown.shape == wanted.shape
    assert shown.std() > 30
    assert np.abs(shown - wanted).mean() < 2
