"""The report as one page that needs nothing but itself: pictures, plots and reasons, worst first."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from pathlib import Path

from serve_app.commands.judging.checklist import answers
from serve_app.commands.judging.judgement import Judgement, Shot
from serve_app.commands.judging.plot import TITLES, plot
from serve_app.core.score import Finding, Score, Series, Verdict

_HERE = Path(__file__).parent
_RANKS = {"error": 4, "reject": 3, "fail": 2, "warn": 1, "pass": 0}
_WORDS = {"pass": "passed", "warn": "warned", "fail": "failed", "reject": "rejected", "error": "not judged"}
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_OPEN_AT_MOST = 8
"""Cards with their plots unfolded; beyond it a page would be miles long."""


@dataclass(frozen=True)
class Masthead:
    """What stands above and below the cards: ``title``, and ``when`` and by which ``version`` it was made."""

    title: str
    when: str
    version: str


def page(judgements: Sequence[Judgement], masthead: Masthead) -> str:
    """Return the whole HTML document; the worst judgement stands first."""
    ranked = sorted(enumerate(judgements), key=lambda each: -_RANKS[each[1].word])
    cards = "".join(_card(judgement, place, len(judgements) <= _OPEN_AT_MOST) for place, judgement in ranked)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(masthead.title)}</title><style>{_text('page.css')}</style></head><body>"
        f"{_top(judgements, masthead)}<main>{_summary(ranked)}{cards}</main>"
        f"<footer>Greenlight {escape(masthead.version)}. The points rank; the verdicts decide. What a picture means, "
        'and whether it pleases, no detector here can tell.</footer><dialog><img alt=""></dialog>'
        f"<script>{_text('page.js')}</script></body></html>\n"
    )


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _top(judgements: Sequence[Judgement], masthead: Masthead) -> str:
    counts = Counter(judgement.word for judgement in judgements)
    buttons = [f'<button type="button" data-word="" aria-pressed="true">All<b>{len(judgements)}</b></button>']
    buttons += [
        f'<button type="button" data-word="{word}" aria-pressed="false">{_WORDS[word].capitalize()}'
        f"<b>{counts[word]}</b></button>"
        for word in sorted(counts, key=lambda word: -_RANKS[word])
    ]
    return (
        f'<header class="top"><h1>{escape(masthead.title)}</h1><p class="muted">{escape(masthead.when)}</p>'
        f'<div class="bar">{"".join(buttons)}<input type="search" placeholder="Find a file or a reason" '
        'aria-label="Find a file or a reason"></div></header>'
    )


def _summary(ranked: Sequence[tuple[int, Judgement]]) -> str:
    heads = "".join(
        f'<th{" class=number" if name == "Points" else ""} scope="col"><button type="button">{name}</button></th>'
        for name in ("File", "Verdict", "Points", "Detector", "Reason")
    )
    rows = "".join(_row(judgement, place) for place, judgement in ranked)
    return (
        '<div class="panel scroll"><table class="summary"><thead><tr><th scope="col"></th>'
        f"{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(judgement: Judgement, place: int) -> str:
    score, worst = judgement.score, None if judgement.score is None else judgement.score.worst
    detector = worst.detector if worst is not None and worst.verdict else ""
    points = "" if score is None else f"{score.points:.0f}"
    thumb = f'<img alt="" src="{_uri(judgement.shots[0].jpeg)}">' if judgement.shots else ""
    cells = (
        f"<td>{thumb}</td>",
        f'<td class="file" data-key="{escape(judgement.name)}"><a href="#f{place}">{escape(judgement.name)}</a></td>',
        f'<td data-key="{_RANKS[judgement.word]}">{_chip(judgement.word)}</td>',
        f'<td class="number" data-key="{points or -1}">{points}</td>',
        f'<td data-key="{escape(detector)}">{escape(detector)}</td>',
        f'<td data-key="{escape(judgement.reason)}">{escape(judgement.reason)}</td>',
    )
    return f'<tr data-word="{judgement.word}" data-card="f{place}">{"".join(cells)}</tr>'


def _chip(word: str) -> str:
    return f'<span class="chip {word}">{word}</span>'


def _uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _card(judgement: Judgement, place: int, is_open: bool) -> str:
    score = judgement.score
    points = "" if score is None else f"<div><strong>{score.points:.0f}</strong> of 100</div>"
    parts = [
        f'<article class="panel" id="f{place}"><div class="head"><div><h2>{escape(judgement.name)}</h2>'
        f'<p class="facts">{escape(_facts(judgement))}</p></div>'
        f'<div class="points">{points}{_chip(judgement.word)}</div></div>'
    ]
    parts.append(_reasons(judgement))
    parts.append(_strip(judgement))
    if score is not None and score.series:
        parts.append(_plots(score, judgement.facts["frames"], is_open))
    if score is not None:
        parts += [_checklist(judgement), _measures(score)]
    return "".join((*parts, "</article>"))


def _facts(judgement: Judgement) -> str:
    facts = judgement.facts
    words = [judgement.kind if judgement.kind != "unknown" else "unknown type", _size(judgement.size_bytes)]
    if "width" in facts:
        words.append(f"{facts['width']} \N{MULTIPLICATION SIGN} {facts['height']}")
    if "frames" in facts:
        rate = float(Fraction(facts["fps"]))
        words.append(f"{facts['frames']} frames at {rate:.4g} fps, {facts['duration_s']:.2f} s")
    return " \N{MIDDLE DOT} ".join(words)


def _size(size_bytes: int) -> str:
    for unit, least in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= least:
            return f"{size_bytes / least:.1f} {unit}"
    return f"{size_bytes} bytes"


def _reasons(judgement: Judgement) -> str:
    items = []
    if judgement.error is not None:
        items.append(_reason("error", judgement.error[0].replace("_", " "), judgement.error[1]))
    findings: Sequence[Finding] = () if judgement.score is None else judgement.score.findings
    raised = sorted((finding for finding in findings if finding.verdict), key=lambda each: -each.verdict)
    items += [_reason(each.verdict.word, each.detector.replace("_", " "), each.reason) for each in raised]
    items += [_reason("note", "", warning) for warning in judgement.warnings]
    passed = ", ".join(finding.detector.replace("_", " ") for finding in findings if finding.verdict is Verdict.PASS)
    listed = f'<ul class="reasons">{"".join(items)}</ul>' if items else ""
    return listed + (f'<p class="fine">No fault found by: {escape(passed)}.</p>' if passed else "")


def _reason(word: str, what: str, why: str) -> str:
    return f'<li>{_chip(word)}<span class="what">{escape(what)}</span><span class="why">{escape(why)}</span></li>'


def _strip(judgement: Judgement) -> str:
    if not judgement.shots:
        return ""
    facts = judgement.facts
    if "frames" not in facts:
        return f'<h3>Picture</h3><div class="single">{_figure(judgement.shots[0], "", None)}</div>'
    rate = float(Fraction(facts["fps"]))
    aspect = f"--aspect: {facts['width']} / {facts['height']}"
    figures = "".join(_figure(shot, aspect, rate) for shot in judgement.shots)
    return f'<h3>Frames at the quarters, and where something was found</h3><div class="strip">{figures}</div>'


def _figure(shot: Shot, style: str, fps: float | None) -> str:
    words = [word for _, word in shot.raised]
    worst = max(words, key=lambda word: _RANKS[word], default="")
    is_reference = shot.frame is None
    name = "reference" if is_reference else "picture" if fps is None else f"frame {shot.frame}"
    time = "" if is_reference or fps is None else f" \N{MIDDLE DOT} {(shot.frame or 0) / fps:.2f} s"
    tags = "".join(f'<span class="chip {word}">{escape(what.replace("_", " "))}</span>' for what, word in shot.raised)
    caption = "" if fps is None else f'<figcaption><span class="when">{name}{time}</span>{tags}</figcaption>'
    opened = f'<figure class="{worst}" style="{style}">'
    return f'{opened}<img loading="lazy" alt="{name}" src="{_uri(shot.jpeg)}">{caption}</figure>'


def _plots(score: Score, frames: int, is_open: bool) -> str:
    raised = {finding.detector: -finding.verdict for finding in score.findings}
    ranked = sorted(score.series, key=lambda series: raised.get(series.detector, 0))
    charts = "".join(_chart(series, score, frames) for series in ranked)
    legend = (
        '<p class="legend"><span><i class="w"></i>warns beyond</span><span><i class="f"></i>fails beyond</span>'
        "<span><b></b>the frame that a detector named</span><span>across: frame</span></p>"
    )
    return (
        f"<details{' open' if is_open else ''}><summary>Every measure over time</summary>"
        f'<div class="plots">{charts}</div>{legend}</details>'
    )


def _chart(series: Series, score: Score, frames: int) -> str:
    same = (each for each in score.findings if (each.detector, each.unit) == (series.detector, series.unit))
    named = [each.frame for each in same if each.verdict and each.frame is not None]
    note = f"{series.unit}, judged by its {series.taken}" if series.taken else series.unit
    title = f"{escape(TITLES.get(series.measure, series.measure))}<small>{escape(note)}</small>"
    return f'<div class="chart"><div class="title">{title}</div>{plot(series, frames, named)}</div>'


def _checklist(judgement: Judgement) -> str:
    rows = "".join(
        f"<tr><td>{escape(box['group'])}</td><td>{escape(box['question'])}</td>"
        f"<td>{_chip(box['answer'])}</td><td>{escape(box['by'])}</td></tr>"
        for box in answers(judgement.score, judgement.facts)
    )
    return (
        "<details><summary>Checklist</summary><div class=scroll><table><thead><tr><th>Group</th><th>Question</th>"
        f"<th>Answer</th><th>By</th></tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _measures(score: Score) -> str:
    pairs = "".join(
        f"<div><span>{escape(name)}</span>{value:.4g}</div>" for name, value in sorted(score.measures.items())
    )
    return f'<details><summary>Every number</summary><div class="pairs">{pairs}</div></details>'
