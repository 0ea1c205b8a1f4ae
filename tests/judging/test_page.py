"""The page that a judgement leaves, in a real browser without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from serve_app.__main__ import main
from tests.judging.films import film, pan, still
from tests.metrics.clips import clip
from tests.metrics.pictures import subject

CHROMIUM = shutil.which("chromium")
EVIL = "<img src=x onerror=document.title='owned'>&\"'.png"
SWAPPED = "swap.mp4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what judging five files left, one of them of an evil name."""
    root: Path = tmp_path_factory.mktemp("judged")
    files = root / "files"
    files.mkdir()
    (files / SWAPPED).write_bytes(film(clip("validation", "face:11", "swap").frames))
    (files / "pan.webm").write_bytes(film(pan(), "webm", "libvpx-vp9"))
    (files / EVIL).write_bytes(still(subject("coffee").pixels))
    (files / "reference.png").write_bytes(still(subject("face:11").pixels))
    (files / "half.mp4").write_bytes(film(pan())[:900])
    reference = str(files / "reference.png")
    assert main(["judge", str(files), "--reference", reference, "--null-clips", "0", "--out", str(root / "out")]) == 1
    (made,) = (root / "out").iterdir()
    return made


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[tuple[Page, list[str], list[str]]]:
    """Return the page, what it asked of a network, and what it complained of."""
    if CHROMIUM is None:
        where = "chromium is not installed; on Debian: apt-get install chromium"
        pytest.fail(where) if os.environ.get("CI") else pytest.skip(where)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((folder / "index.html").as_uri())
        yield page, asked, complaints
        browser.close()


Opened = tuple[Page, list[str], list[str]]


@pytest.fixture
def page(opened: Opened) -> Page:
    """Return the page as it is when it was just opened."""
    opened[0].reload()
    return opened[0]


def column(page: Page, number: int) -> list[str]:
    cells: list[str] = page.eval_on_selector_all(
        f".summary tbody tr:not([hidden]) td:nth-child({number})", "cells => cells.map(cell => cell.innerText.trim())"
    )
    return cells


def test_it_asks_for_nothing_but_itself_and_complains_of_nothing(opened: Opened) -> None:
    _, asked, complaints = opened
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert complaints == []


def test_the_worst_stands_first_with_its_reason(page: Page) -> None:
    words = [word.lower() for word in column(page, 3)]
    assert words[0] == "error"
    assert words == sorted(words, key=["error", "reject", "fail", "warn", "pass"].index)
    assert any("from frame" in reason for reason in column(page, 6))


def test_a_file_name_is_text_whatever_is_in_it(page: Page) -> None:
    assert any(name.endswith(EVIL) for name in column(page, 2))
    assert page.title() == "5 files judged"
    assert page.locator("img[src=x]").count() == 0


def test_every_picture_is_there(page: Page) -> None:
    page.eval_on_selector_all("img[loading=lazy]", "imgs => imgs.forEach(img => img.loading = 'eager')")
    page.wait_for_function("() => [...document.images].every(img => img.complete)")
    widths: list[int] = page.eval_on_selector_all("figure img, .summary img", "imgs => imgs.map(i => i.naturalWidth)")
    assert len(widths) > 10
    assert min(widths) > 0


def test_a_click_on_a_head_sorts_and_another_turns_it_round(page: Page) -> None:
    head = page.get_by_role("button", name="Points")
    head.click()
    points = [float(each or -1) for each in column(page, 4)]
    assert points == sorted(points)
    head.click()
    assert [float(each or -1) for each in column(page, 4)] == points[::-1]
    assert page.locator("th[aria-sort=descending]").inner_text() == "Points"


def test_only_one_verdict_is_shown_on_request_in_the_table_and_below(page: Page) -> None:
    page.get_by_role("button", name="Not judged").click()
    assert [word.lower() for word in column(page, 3)] == ["error"]
    assert page.locator("article:visible").count() == 1


def test_a_word_finds_its_file(page: Page) -> None:
    page.get_by_role("searchbox").fill("SWAP")
    assert len(column(page, 2)) == 1
    assert page.locator("article:visible").count() == 1


def test_the_plot_shows_the_curve_and_the_frame_that_was_named(page: Page) -> None:
    card = page.locator("article", has=page.locator("h2", has_text=SWAPPED))
    chart = card.locator(".chart", has_text="Break between frames")
    assert chart.locator("polyline").bounding_box() is not None
    assert chart.locator(".at, .mark").count() >= 1
    assert card.locator("figure.fail").count() >= 1


def test_a_click_on_a_frame_enlarges_it_and_another_closes_it(page: Page) -> None:
    page.locator("figure img").first.click()
    box: Any = page.locator("dialog img").bounding_box()
    assert box["width"] > 400
    page.locator("dialog").click()
    assert not page.locator("dialog").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_its_window_and_can_be_read_by_day_and_night(page: Page, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrast = page.evaluate(CONTRAST)
    assert contrast > 7
    page.set_viewport_size({"width": 1280, "height": 900})


CONTRAST = """() => {
    const luminance = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(document.body);
    const [a, b] = [luminance(style.color), luminance(style.backgroundColor)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
}"""
